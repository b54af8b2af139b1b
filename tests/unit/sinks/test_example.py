"""The example sink package, installed by pip, with a real NATS server."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import example
import pytest

pytestmark = pytest.mark.slow

SOURCE = example.ROOT / "docs" / "examples" / "kzn-sink-nats"
PROGRAM = Path(sys.prefix) / "bin" / "nats-server"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The URL of a server with JetStream."""
    program = PROGRAM if PROGRAM.exists() else shutil.which("nats-server")
    if program is None or find_spec("nats") is None:
        pytest.skip("nats-server or nats-py is missing: scripts/setup test installs them")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [str(program), "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", str(tmp_path / "js")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with closing(socket.socket()) as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_segments_arrive_once_and_to_the_byte(server: str, tmp_path: Path) -> None:
    site = example.install(SOURCE, tmp_path / "package")
    [found] = distributions(path=[str(site)])
    [point] = found.entry_points
    assert (found.name, point.group, point.name) == ("kzn-sink-nats", "kzn.sinks", "nats")
    segment = tmp_path / "m1795651200-00000001-1.parquet"
    segment.write_bytes(bytes(number * number % 251 for number in range(1_200_000)))
    command = [sys.executable, str(SOURCE / "tests" / "try_nats.py"), server, str(segment)]
    printed = json.loads(example.run(command, PYTHONPATH=f"{site}:{example.ROOT}"))
    assert "nats://127.0.0.1" in printed.pop("before")
    assert printed == {"names": [segment.name], "pieces": ["1/3", "2/3", "3/3"], "same": True}
