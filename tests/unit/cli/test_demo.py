"""kzn/cli/demo.py: signals end it, and it removes what it made."""

import signal
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)]
)
def test_a_demo_in_the_background_is_ended_by_signals(number: signal.Signals, code: int) -> None:
    """A shell without job control starts it with SIGINT ignored."""
    program = (
        "import signal\n"
        "from kzn.cli import demo\n"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
        "demo._exit_on_signals()\n"
        "try:\n"
        "    print('made', flush=True)\n"
        "    signal.pause()\n"
        "finally:\n"
        "    print('removed')\n"
    )
    with subprocess.Popen(
        ["/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == "made\n"
            started.send_signal(number)
            out, _ = started.communicate(timeout=30)
        finally:
            started.kill()
    assert out == "removed\n"
    assert started.returncode == code
