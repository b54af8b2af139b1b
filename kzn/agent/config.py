"""What an agent is told, in one frozen value."""

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
"""Half of the time after which a program that nobody drains goes dormant."""
LAST_DRAIN_SECONDS = 8.0
"""Time for the last batch after SIGTERM; Kubernetes kills after 30 seconds by default."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One agent; times in seconds. ``server`` None means: print batches, pin nothing."""

    node: str
    server: HostPort | None
    probe: str = "auto"
    settings: Settings = Settings()
    interval: float = INTERVAL_SECONDS
    pin_dir: Path = PIN_DIR
    listen_http: HostPort | None = None
    uplinks: tuple[str, ...] | None = ()
    """Names of interfaces; empty: find out; None: do not care, and count what stays here too."""
    skip_inbound: bool = False
    tls: ClientTls | None = None
    token_file: Path | None = None

    def __post_init__(self) -> None:
        """UsageError for an interval that makes no sense."""
        if not MIN_INTERVAL_SECONDS <= self.interval <= MAX_INTERVAL_SECONDS:
            raise UsageError(
                f"interval {self.interval:g} s is not between "
                f"{MIN_INTERVAL_SECONDS:g} s and {MAX_INTERVAL_SECONDS:g} s"
            )
