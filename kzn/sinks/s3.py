"""The sink ``s3``: segments as objects in a bucket, partitioned by day and hour.

In: segments. Out: PREFIX/date=YYYY-MM-DD/hour=HH/NAME, which Athena, Trino, Spark and ClickHouse
read as a table with partitions. Never: an object that is not whole, or a key in a URL: access keys
are in files, or those of the environment, the pod's or the machine's role are used.

An object is put under the segment's name, so a repeat replaces it by itself: by one request, or in
parts where the file is larger than `PART`, which become an object when all are there.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from kzn.errors import UsageError
from kzn.sinks.declaration import FinishedSegment, LaterError, SinkPlugin
from kzn.sinks.target import Target, secret

if TYPE_CHECKING:
    from obstore.store import S3Store

FORM = "s3://BUCKET[/PREFIX][?region=REGION&endpoint=URL&key-file=FILE&secret-file=FILE]"
OPTIONS = ("region", "endpoint", "path-style", "key-file", "secret-file")
RETRY_SECONDS = 30
PART, PARTS_AT_ONCE = 8 << 20, 2
"""Bytes of a file that are in memory: a part, and how many of them."""


class S3Sink:
    """Puts objects below the target's prefix."""

    def __init__(self, target: Target) -> None:
        """UsageError for a URL of another form, or without the package obstore."""
        target.only(*OPTIONS)
        if not target.host:
            raise UsageError(f"{target.shown} has no bucket", hint=f"write {FORM}")
        endpoint = target.options.get("endpoint", "")
        if endpoint and not endpoint.startswith(("http://", "https://")):
            raise UsageError(f"{target.shown}: endpoint is not a URL of HTTP")
        if ("key-file" in target.options) != ("secret-file" in target.options):
            raise UsageError(f"{target.shown}: key-file and secret-file go together")
        if find_spec("obstore") is None:
            raise UsageError("the sink s3 needs obstore", hint="pip install 'kzn[s3]'")
        self._target = target
        self._endpoint = endpoint
        self._is_path_style = bool(endpoint) or target.flag("path-style")
        self._keys = target.file("key-file"), target.file("secret-file")
        self._prefix = target.path.strip("/")

    async def put(self, segment: FinishedSegment) -> None:
        """See `Sink`."""
        import obstore  # noqa: PLC0415 - 20 MB, for those who have a bucket
        from obstore.exceptions import BaseError  # noqa: PLC0415

        key = "/".join(filter(None, (self._prefix, key_of(segment))))
        with await asyncio.to_thread(segment.path.open, "rb") as body:
            try:
                store = await asyncio.to_thread(self._store)
                await obstore.put_async(
                    store, key, body, chunk_size=PART, max_concurrency=PARTS_AT_ONCE
                )
            except (BaseError, OSError, ValueError) as error:
                first = " ".join(str(error).split())[:300]
                raise LaterError(f"s3://{self._target.host}/{key}: {first}") from error

    async def close(self) -> None:
        """See `Sink`."""

    def _store(self) -> "S3Store":
        """A store with the keys as they are in their files now."""
        from obstore.store import S3Store  # noqa: PLC0415

        options: dict[str, Any] = {
            "virtual_hosted_style_request": not self._is_path_style,
            "client_options": {
                "allow_http": self._endpoint.startswith("http://"),
                "timeout": "60s",
            },
            "retry_config": {
                "max_retries": 2,
                "retry_timeout": timedelta(seconds=RETRY_SECONDS),
            },
        }
        if self._endpoint:
            options["endpoint"] = self._endpoint
        if "region" in self._target.options:
            options["region"] = self._target.options["region"]
        if self._keys[0] is not None:
            options["access_key_id"] = secret(self._keys[0])
            options["secret_access_key"] = secret(self._keys[1])
        return S3Store(self._target.host, **options)


def key_of(segment: FinishedSegment) -> str:
    """Where an object lies below the prefix."""
    begin = datetime.fromtimestamp(segment.begin, UTC)
    return f"{begin:date=%Y-%m-%d/hour=%H}/{segment.name}"


SINK = SinkPlugin(name="s3", open=S3Sink, form=FORM)
