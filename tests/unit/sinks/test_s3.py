"""The sink ``s3`` against moto, a server of S3's interface in a process of its own."""

import asyncio
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import obstore
import pytest
from obstore.store import S3Store
from questions import T0
from spooled import SmallHistory

from kzn.errors import UsageError
from kzn.history.segments import HOUR
from kzn.sinks.declaration import FinishedSegment, LaterError
from kzn.sinks.s3 import PART, SINK
from kzn.sinks.target import parse_target

MOTO = Path(sys.prefix) / "moto"
"""Where scripts/setup puts moto, whose dependencies exclude those of kzn."""
SERVE = """
from moto.server import ThreadedMotoServer
import time
server = ThreadedMotoServer("127.0.0.1", 0)
server.start()
print("port", server.get_host_and_port()[1], flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server with the bucket ``flows``."""
    if not MOTO.exists():
        pytest.skip("moto is missing: scripts/setup test installs it")
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        env=os.environ | {"PYTHONPATH": str(MOTO)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("port"))
        url = f"http://127.0.0.1:{int(line.split()[1])}"
        deadline = time.monotonic() + 60
        while True:
            try:
                request("PUT", f"{url}/flows")
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < deadline
        yield url
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def request(method: str, url: str) -> bytes:
    """A request that is not signed, which moto accepts."""
    wanted = urllib.request.Request(url, method=method)  # noqa: S310 - to moto
    with urllib.request.urlopen(wanted, timeout=30) as answer:  # noqa: S310
        return bytes(answer.read())


@pytest.fixture
def segment(tmp_path: Path) -> FinishedSegment:
    """A segment of the hour after T0."""
    history = SmallHistory(tmp_path / "history")
    spool = history.spool()
    spool.add(history.write(61, 4321))
    found = spool.first()
    assert found is not None
    return found


def put(url: str, *segments: FinishedSegment) -> None:
    """Put segments by a sink that was just started."""

    async def run() -> None:
        sink = SINK.open(parse_target(url))
        for one in segments:
            await sink.put(one)
        await sink.close()

    asyncio.run(run())


def bucket(endpoint: str) -> S3Store:
    """The bucket ``flows`` of the server."""
    return S3Store(
        "flows",
        endpoint=endpoint,
        region="eu-west-1",
        access_key_id="AKIAKZN",
        secret_access_key="secret",  # noqa: S106 - moto takes any
        client_options={"allow_http": True},
    )


def keys(folder: Path) -> str:
    """Options for files with access keys."""
    (folder / "key").write_text("AKIAKZN\n")
    (folder / "secret").write_text("secret")
    return f"key-file={folder}/key&secret-file={folder}/secret&region=eu-west-1"


def test_an_object_is_the_file_to_the_byte_in_its_partition(
    endpoint: str, segment: FinishedSegment, tmp_path: Path
) -> None:
    url = f"s3://flows/kzn/v1?endpoint={endpoint}&{keys(tmp_path)}"
    put(url, segment)
    put(url, segment, segment)
    store = bucket(endpoint)
    [key] = [one["path"] for page in obstore.list(store, "kzn") for one in page]
    # 2026-11-26 01:00 UTC is an hour after T0.
    assert segment.begin == T0 + HOUR
    assert key == f"kzn/v1/date=2026-11-26/hour=01/{segment.name}"
    content = bytes(obstore.get(store, key).bytes())
    assert content == segment.path.read_bytes()
    copy = tmp_path / "copy" / "date=2026-11-26" / "hour=01" / "x.parquet"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(content)
    rows = duckdb.execute(
        "SELECT date::VARCHAR, hour::INTEGER, bytes FROM read_parquet(?, hive_partitioning = true)",
        [str(tmp_path / "copy" / "*" / "*" / "*.parquet")],
    )
    assert rows.fetchall() == [("2026-11-26", 1, 4321)]


def test_a_large_file_goes_in_parts_and_is_never_in_memory(
    endpoint: str, segment: FinishedSegment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def whole(path: Path) -> bytes:
        raise AssertionError(path)

    large = tmp_path / "large"
    content = bytes(range(251)) * (2 * PART // 251 + 1)
    large.write_bytes(content)
    one = replace(segment, path=large, size=len(content), name="m1795654800-00000002-1.parquet")
    url = f"s3://flows/large?endpoint={endpoint}&{keys(tmp_path)}"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", whole)
        put(url, segment, one)
    for sent in (segment, one):
        key = f"large/date=2026-11-26/hour=01/{sent.name}"
        assert bytes(obstore.get(bucket(endpoint), key).bytes()) == sent.path.read_bytes()


def test_a_bucket_that_is_not_there_and_a_server_that_is_away_are_for_later(
    endpoint: str, segment: FinishedSegment, tmp_path: Path
) -> None:
    for bucket, place in (("nothing", endpoint), ("flows", "http://127.0.0.1:1")):
        with pytest.raises(LaterError, match=f"s3://{bucket}/date="):
            put(f"s3://{bucket}?endpoint={place}&{keys(tmp_path)}", segment)
    gone = replace(segment, path=tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        put(f"s3://flows?endpoint={endpoint}&{keys(tmp_path)}", gone)


@pytest.mark.parametrize(
    "rest",
    [
        "/prefix",
        "bucket?endpoint=host",
        "bucket?key-file=/dev/null",
        "bucket?path-style=perhaps",
        "bucket?access_key=x",
    ],
)
def test_what_is_not_the_url_of_a_bucket_is_an_error(rest: str) -> None:
    with pytest.raises(UsageError):
        SINK.open(parse_target(f"s3://{rest}"))
