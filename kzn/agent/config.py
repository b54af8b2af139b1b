"""The configuration of one agent, as the command line gives it."""

from dataclasses import dataclass
from pathlib import Path

from kzn.daemon.listen import HostPort
from kzn.daemon.tls import ClientTls
from kzn.errors import UsageError
from kzn.probes.settings import Settings

PIN_DIR = Path("/sys/fs/bpf/kzn")
INTERVAL_SECONDS = 10.0
MIN_INTERVAL_SECONDS = 0.5
MAX_INTERVAL_SECONDS = 300.0
"""Half of the time after which a program that is not drained goes dormant."""
LAST_DRAIN_SECONDS = 8.0
"""Time limit for the last batch after SIGTERM; Kubernetes sends SIGKILL after 30 s by default."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One agent; times in seconds. Without a ``server`` it prints batches and pins nothing."""

    node: str
    server: HostPort | None
    probe: str = "auto"
    settings: Settings = Settings()
    interval: float = INTERVAL_SECONDS
    pin_dir: Path = PIN_DIR
    listen_http: HostPort | None = None
    http_hosts: tuple[str, ...] = ()
    """Names by which HTTP clients may call this agent, besides its addresses and its own name."""
    uplinks: tuple[str, ...] | None = ()
    """Interface names; empty: detect them; None: off, count traffic that stays on the node too."""
    skip_inbound: bool = False
    tls: ClientTls | None = None
    token_file: Path | None = None
    keeps_capabilities: bool = False
    """Whether the process keeps what loading a probe takes, to select another one without an end.
    """
    process: int = 0
    """Tells this process from another agent of the same node name; the daemon sets it."""

    def __post_init__(self) -> None:
        """UsageError for an interval that is too short or too long."""
        if not MIN_INTERVAL_SECONDS <= self.interval <= MAX_INTERVAL_SECONDS:
            raise UsageError(
                f"interval {self.interval:g} s is not between "
                f"{MIN_INTERVAL_SECONDS:g} s and {MAX_INTERVAL_SECONDS:g} s"
            )
