"""The sink with a real NATS server: ``try_nats.py SERVER-URL FILE`` in a process of its own.

Puts the file twice, then prints the messages of the stream: header, number of pieces, content.
"""

import asyncio
import json
import sys
from importlib.metadata import entry_points
from pathlib import Path

import nats

from kzn.sinks.declaration import FinishedSegment, LaterError
from kzn.sinks.target import parse_target


async def main(server: str, file: Path, body: bytes) -> None:
    """Put and read back."""
    [point] = [one for one in entry_points(group="kzn.sinks") if one.name == "nats"]
    plugin = point.load()
    segment = FinishedSegment(file.name, "00000001", 0, 3600, len(body), file)
    sink = plugin.open(parse_target(f"{server}/kzn.flows"))
    before = ""
    try:
        await sink.put(segment)
    except LaterError as error:
        before = error.message
    client = await nats.connect(server)
    stream = client.jetstream()
    await stream.add_stream(name="KZN", subjects=["kzn.flows"])
    await sink.put(segment)
    await sink.close()
    again = plugin.open(parse_target(f"{server}/kzn.flows"))
    await again.put(segment)
    await again.close()
    reader = await stream.subscribe("kzn.flows", ordered_consumer=True)
    count = (await stream.stream_info("KZN")).state.messages
    found = [await reader.next_msg(timeout=10) for _ in range(count)]
    content = b"".join(message.data for message in found)
    headers = [message.headers for message in found]
    await client.close()
    pieces = [one["Kzn-Piece"] for one in headers]
    names = sorted({one["Kzn-Segment"] for one in headers})
    same = content == body
    print(json.dumps({"before": before, "names": names, "pieces": pieces, "same": same}))  # noqa: T201


if __name__ == "__main__":
    path = Path(sys.argv[2])
    asyncio.run(main(sys.argv[1], path, path.read_bytes()))
