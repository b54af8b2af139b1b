"""A sink for kzn: segments of the history as messages of NATS JetStream.

A segment is one or several messages on the subject, pieces of the Parquet file in order, each
within the server's limit. The header ``Kzn-Segment`` names the file, ``Kzn-Piece`` is NUMBER/OF.
The id of a message is the name and the number, so that JetStream drops what comes again within the
duplicate window of the stream.
"""

import asyncio
import re
from typing import BinaryIO

import nats
from nats.aio.client import Client
from nats.errors import Error
from nats.js.errors import APIError

from kzn.errors import UsageError
from kzn.sinks.declaration import FinishedSegment, LaterError, SinkPlugin
from kzn.sinks.target import Target

FORM = "nats://HOST[:PORT]/SUBJECT"
PIECE = 512 * 1024
"""Half of the limit that servers have unless told otherwise."""
SECONDS = 10
_SUBJECT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


class NatsSink:
    """Publishes on one subject, which a stream must have."""

    def __init__(self, target: Target) -> None:
        """UsageError for a URL of another form."""
        target.only()
        self._subject = target.path.strip("/")
        if not target.host or not _SUBJECT.fullmatch(self._subject):
            raise UsageError(f"{target.shown} has no host or no subject", hint=f"write {FORM}")
        self._server = f"nats://{target.host}:{target.port or 4222}"
        self._client: Client | None = None

    async def put(self, segment: FinishedSegment) -> None:
        """Publish the pieces, each acknowledged by the stream."""
        with await asyncio.to_thread(segment.path.open, "rb") as body:
            await self._publish(segment, body)

    async def _publish(self, segment: FinishedSegment, body: BinaryIO) -> None:
        of = -(-segment.size // PIECE)
        try:
            if self._client is None:
                self._client = await nats.connect(
                    self._server, connect_timeout=SECONDS, allow_reconnect=False
                )
            stream = self._client.jetstream(timeout=SECONDS)
            for number in range(1, of + 1):
                headers = {
                    "Nats-Msg-Id": f"{segment.name}/{number}",
                    "Kzn-Segment": segment.name,
                    "Kzn-Piece": f"{number}/{of}",
                }
                piece = await asyncio.to_thread(body.read, PIECE)
                await stream.publish(self._subject, piece, headers=headers)
        except (Error, APIError, OSError, TimeoutError) as error:
            await self.close()
            raise LaterError(f"{self._server}: {error or type(error).__name__}") from error

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


SINK = SinkPlugin(name="nats", open=NatsSink, form=FORM)
