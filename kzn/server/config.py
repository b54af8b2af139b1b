"""Options of `kzn server` in one frozen value."""

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
"""Audience that the tokens of agents must have."""
_ACCOUNT = re.compile(r"[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Options and limits. ``topology`` None: Kubernetes. ``static`` is an additional source."""

    listen_agents: HostPort = field(default_factory=lambda: HostPort("", 7070))
    listen_http: HostPort = field(default_factory=lambda: HostPort("", 8080))
    topology: Path | None = None
    static: Path | None = None
    state: Path | None = None
    """File that keeps counters over restarts; None: they start at zero."""
    flow_log: FlowLogMode = "off"
    kubeconfig: str = ""
    context: str = ""
    zone_ids: bool = False
    """Use zone ids (the same in every account of the cloud) where nodes have such a label."""
    ledger: LedgerLimits = field(default_factory=LedgerLimits)
    max_nodes: int = 20_000
    max_held_flows: int = 1_000_000
    shutdown_seconds: float = 10.0
    tls: ServerTlsFiles | None = None
    auth: AuthMode = "none"
    agent_accounts: tuple[str, ...] = ("kzn/kzn-agent",)
    """ServiceAccounts (namespace/name) accepted as agents with ``auth`` token."""

    def __post_init__(self) -> None:
        """UsageError for options that contradict each other."""
        has_client_ca = self.tls is not None and self.tls.client_ca is not None
        if self.auth == "mtls" and not has_client_ca:
            raise UsageError("--auth mtls needs a client CA", hint="set --tls-client-ca")
        if self.auth == "none" and has_client_ca:
            raise UsageError(
                "--tls-client-ca cannot be combined with --auth none",
                hint="omit --auth, or set it to mtls or token",
            )
        for account in self.agent_accounts:
            if not _ACCOUNT.fullmatch(account):
                raise UsageError(f"{account!r} is not a ServiceAccount", hint="use NAMESPACE/NAME")
