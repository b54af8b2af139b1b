"""The modules that an agent imports before its probe is loaded, while libbpf needs memory."""

import subprocess
import sys

import pytest

from kzn.agent import main, privileges
from kzn.agent.config import AgentConfig
from kzn.daemon.listen import HostPort
from kzn.daemon.stop_flag import StopFlag
from kzn.errors import KznError, ProbeSwitchError

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


SWITCH = ProbeSwitchError("probe postrouting sees 3%")
FAULT = KznError("pins are gone")


@pytest.mark.parametrize(
    ("keeps", "raised", "starts_again"),
    [
        (True, SWITCH, True),
        (True, ExceptionGroup("tasks", [SWITCH]), True),
        (True, ExceptionGroup("tasks", [SWITCH, FAULT]), False),
        (True, FAULT, False),
        (False, SWITCH, False),
    ],
)
def test_only_a_switch_with_the_capabilities_kept_starts_the_process_again(
    monkeypatch: pytest.MonkeyPatch, keeps: bool, raised: Exception, starts_again: bool
) -> None:
    def fail(_config: AgentConfig, _stop: StopFlag) -> None:
        raise raised

    stop = StopFlag()
    started: list[StopFlag] = []
    monkeypatch.setattr(main, "_run", fail)
    monkeypatch.setattr(privileges, "start_again", started.append)
    config = AgentConfig("n1", HostPort("server", 7070), keeps_capabilities=keeps)
    if starts_again:
        main.run(config, stop)
    else:
        with pytest.raises(type(raised)):
            main.run(config, stop)
    assert started == ([stop] if starts_again else [])
