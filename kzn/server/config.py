"""What `kzn server` was asked to do, in one frozen value."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kzn.daemon.listen import Address
from kzn.server.ledger import LedgerLimits

FlowLogMode = Literal["text", "json", "off"]


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Options and limits. Without ``topology`` it is Kubernetes; ``static`` comes beside it."""

    listen_agents: Address = field(default_factory=lambda: Address("", 7070))
    listen_http: Address = field(default_factory=lambda: Address("", 8080))
    topology: Path | None = None
    static: Path | None = None
    flow_log: FlowLogMode = "off"
    kubeconfig: str = ""
    context: str = ""
    ledger: LedgerLimits = field(default_factory=LedgerLimits)
    max_nodes: int = 20_000
    max_held_flows: int = 1_000_000
    shutdown_seconds: float = 10.0
