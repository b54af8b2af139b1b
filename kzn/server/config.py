"""What `kzn server` was asked to do, in one frozen value."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kzn.daemon.listen import HostPort
from kzn.daemon.tls import ServerTlsFiles
from kzn.errors import UsageError
from kzn.server.ledger.ledger import LedgerLimits

FlowLogMode = Literal["text", "json", "off"]
AuthMode = Literal["none", "token", "mtls"]

AUDIENCE = "kzn-server"
"""What the tokens of agents must be meant for."""
_ACCOUNT = re.compile(r"[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Options and limits. Without ``topology`` it is Kubernetes; ``static`` comes beside it."""

    listen_agents: HostPort = field(default_factory=lambda: HostPort("", 7070))
    listen_http: HostPort = field(default_factory=lambda: HostPort("", 8080))
    topology: Path | None = None
    static: Path | None = None
    state: Path | None = None
    """Where counters live on; None: they begin at zero when the server starts."""
    flow_log: FlowLogMode = "off"
    kubeconfig: str = ""
    context: str = ""
    zone_ids: bool = False
    """Call a zone as the cloud does in every account, where nodes are labelled so."""
    ledger: LedgerLimits = field(default_factory=LedgerLimits)
    max_nodes: int = 20_000
    max_held_flows: int = 1_000_000
    shutdown_seconds: float = 10.0
    tls: ServerTlsFiles | None = None
    auth: AuthMode = "none"
    agent_accounts: tuple[str, ...] = ("kzn/kzn-agent",)
    """ServiceAccounts of agents, namespace/name: nobody else's token is taken."""

    def __post_init__(self) -> None:
        """UsageError for what does not go together."""
        asks = self.tls is not None and self.tls.client_ca is not None
        if self.auth == "mtls" and not asks:
            raise UsageError("mtls needs an authority for clients", hint="give --tls-client-ca")
        if self.auth == "none" and asks:
            raise UsageError(
                "--tls-client-ca and no authentication do not go together",
                hint="leave --auth out, or say mtls or token",
            )
        for account in self.agent_accounts:
            if not _ACCOUNT.fullmatch(account):
                raise UsageError(f"{account!r} is no ServiceAccount", hint="write NAMESPACE/NAME")
