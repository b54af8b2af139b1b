"""An agent that ships full buffers, in namespaces of its own; prints its memory as a JSON object.

    cd bench && unshare --net --mount -- python -m lib.full_agent

In: datagrams to 65,536 addresses, out by a device that drops them. A server that acknowledges all
runs in this process. Out: the agent's most memory while it ships `BATCHES` batches of all flows.
"""

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from subprocess import PIPE

from lib.process_memory import kilobytes

from kzn.wire.codec import decode_to_server, encode_to_agent
from kzn.wire.encode_batch import EncodedBatch
from kzn.wire.limits import Limits
from kzn.wire.messages import Ack, Hello, Welcome
from kzn.wire.stream import FrameStream

FLOWS = 65_536
BATCHES = 4
"""Two of each buffer."""
PORT = 7070
LIMIT_SECONDS = 240.0


def prepare(far: int) -> None:
    """An uplink, to a device in the network namespace of the process `far` that drops all."""
    enter = f"nsenter --net=/proc/{far}/ns/net"
    for command in (
        "ip link set lo up",
        f"ip link add out type veth peer name far netns {far}",
        f"{enter} ip link set far up arp off",
        "ip address add 10.9.0.1/32 dev out",
        "ip link set out up arp off",
        "ip route add default dev out src 10.9.0.1",
    ):
        subprocess.run(command.split(), check=True)


def send() -> None:
    """A datagram to each of `FLOWS` addresses, none of them the device's own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(FLOWS):
            sender.sendto(b"", (f"10.{100 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", 9))


class Sink:
    """A server that acknowledges; ``full`` counts batches with at least `FLOWS` flows."""

    def __init__(self) -> None:
        self.full = 0
        self.changed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        stream = FrameStream(reader, writer, Limits().max_frame)
        while (frame := await stream.receive()) is not None:
            message = decode_to_server(frame)
            if isinstance(message, Hello):
                await stream.send(encode_to_agent(Welcome(None, Limits(), instance=1)))
            elif isinstance(message, EncodedBatch):
                self.full += message.columns.flows >= FLOWS
                await stream.send(encode_to_agent(Ack(message.sequence)))
                self.changed.set()


async def measure(bpffs: str) -> dict[str, int]:
    """The most memory that the agent had, in kB."""
    sink = Sink()
    options = ["--server", f"127.0.0.1:{PORT}", "--node", "bench", "--interval", "20s"]
    options += ["--pin-dir", f"{bpffs}/kzn", "--probe", "postrouting", "--listen-http", ":0"]
    options += ["--log-level", "error"]
    async with await asyncio.start_server(sink.serve, "127.0.0.1", PORT):
        agent = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kzn.cli.main", "agent", *options
        )
        try:
            await sink.changed.wait()  # connected
            while sink.full < BATCHES:
                sink.changed.clear()
                await asyncio.to_thread(send)
                await sink.changed.wait()
            return {"hwm_kb": kilobytes(agent.pid, "VmHWM")}
        finally:
            with suppress(ProcessLookupError):
                agent.terminate()
            await agent.wait()


def main() -> None:
    """Measure and print."""
    far = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; cat"], stdin=PIPE, stdout=PIPE)
    with tempfile.TemporaryDirectory() as bpffs, far:
        assert far.stdout is not None  # noqa: S101 - it is a pipe
        far.stdout.readline()  # it is in its namespace
        subprocess.run(["mount", "-t", "bpf", "bpf", bpffs], check=True)
        try:
            prepare(far.pid)
            print(json.dumps(asyncio.run(asyncio.wait_for(measure(bpffs), LIMIT_SECONDS))))
        finally:
            subprocess.run(["umount", bpffs], check=True)
            far.kill()


if __name__ == "__main__":
    main()
