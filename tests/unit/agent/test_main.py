"""The modules that an agent imports before its probe is loaded, while libbpf needs memory."""

import subprocess
import sys

import pytest

BEFORE_ATTACHING = """
import kzn.agent.main
from kzn.cli.agent import agent
from kzn.daemon import logs
from kzn.probes import registry
registry.installed()
"""


def imported(script: str) -> set[str]:
    """The top-level packages that a new process has imported after a script."""
    show = "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", script + show], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_no_large_package_is_imported_before_the_probe_is_attached() -> None:
    found = imported(BEFORE_ATTACHING)
    assert "kzn" in found
    assert not found & {"numpy", "google", "pyroute2", "prometheus_client"}


@pytest.mark.slow
def test_the_daemon_that_is_imported_afterwards_has_numpy() -> None:
    assert "numpy" in imported("import kzn.agent.app")
