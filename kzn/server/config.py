"""Options of `kzn server` in one frozen value."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kzn.daemon.http.places import HttpLimits
from kzn.daemon.listen import HostPort
from kzn.daemon.tls import ServerTlsFiles
from kzn.errors import UsageError
from kzn.history.retention import Keep
from kzn.server.flows.queue import LOGGED_CLASSES
from kzn.server.ledger.family import FAMILIES
from kzn.server.ledger.limits import MAX_SERIES, LedgerLimits
from kzn.server.prices import PriceSources
from kzn.server.resolve.reporting import StandIn
from kzn.sinks.spool import DEFAULT_LIMIT
from kzn.sinks.target import Target
from kzn.topology.groups import MAX_KEYS

FlowLogMode = Literal["text", "json", "off"]
AuthMode = Literal["none", "token", "mtls"]
OnMismatch = Literal["fail", "begin-anew"]
HttpAuthMode = Literal["none", "kubernetes"]
ExternalAddresses = Literal["full", "/24", "none"]

AUDIENCE = "kzn-server"
"""Audience that the tokens of agents must have."""
FIRST_SCRAPE_WAIT = 75.0
"""More than a minute, the longest scrape interval that is common, and some seconds of delay."""
_LABEL = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")
NODE_LIMIT, MAX_NODES = "node", 20_000
"""The name of this limit among those of series, and its default."""
_ACCOUNT = re.compile(r"[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}")


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """Where the history is, how long it is kept, and how addresses of external ends are kept.

    ``sinks`` get its segments; ``spool`` is how many bytes of files may wait for each of them.
    """

    directory: Path
    keep: Keep = field(default_factory=Keep)
    external: ExternalAddresses = "full"
    sinks: tuple[Target, ...] = ()
    spool: int = DEFAULT_LIMIT


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Options and limits. ``topology`` None: Kubernetes. ``static`` is an additional source."""

    listen_agents: HostPort = field(default_factory=lambda: HostPort("", 7070))
    listen_http: HostPort = field(default_factory=lambda: HostPort("", 8080))
    http_limits: HttpLimits = field(default_factory=HttpLimits)
    http_tls: ServerTlsFiles | None = None
    http_auth: HttpAuthMode = "none"
    max_refused_tokens: int = 5
    """Refused tokens in a minute of one pod, node or address, beyond which few are reviewed."""
    http_hosts: tuple[str, ...] = ()
    """Names by which HTTP clients may call this server, besides its addresses and Services."""
    topology: Path | None = None
    static: Path | None = None
    state: Path | None = None
    """File that keeps counters over restarts; None: they start at zero."""
    state_on_mismatch: OnMismatch = "fail"
    history: HistoryOptions | None = None
    history_store: Target | None = None
    """The engine that answers queries about the past, instead of the files of ``history``."""
    first_scrape_wait: float = FIRST_SCRAPE_WAIT
    """Seconds for which a new series is exposed at 0, 0 for not at all (ledger/first_scrape.py)."""
    flow_log: FlowLogMode = "off"
    flow_log_classes: tuple[str, ...] = ("cross_zone", "cross_region")
    """Classes of flows that have lines, and "unresolved"."""
    flow_log_cost: bool = False
    """Whether lines have what the flow costs."""
    kubeconfig: str = ""
    context: str = ""
    opencost: bool = False
    """Whether /metrics has the counters of pods that OpenCost reads."""
    prices: PriceSources = field(default_factory=PriceSources)
    """The price lists in use; those installed unless said otherwise."""
    budgets: Path | None = None
    """File of budgets (kzn.reports.budget_file)."""
    stand_in: StandIn = "auto"
    created_lines: bool = True
    """Whether OpenMetrics text has the ``_created`` line of each series of traffic."""
    zone_ids: bool = False
    """Use zone ids, which are the same in every account of the cloud, instead of zone names."""
    zone_label: str = ""
    region_label: str = ""
    """Labels of nodes that are read instead of topology.kubernetes.io/zone and /region."""
    default_zone: str = ""
    """The zone of nodes that have none."""
    cluster: str = ""
    """The name of the cluster in history and metrics; empty: the uid of namespace kube-system."""
    group_labels: tuple[str, ...] = ()
    """Labels or annotations of pods and namespaces that name the team of a workload."""
    ledger: LedgerLimits = field(default_factory=LedgerLimits)
    max_agents: int = 10_000
    max_agents_per_address: int = 100
    address_share: float = 0.25
    """Share of the event loop that one address, or one authenticated agent, can take."""
    max_nodes: int = MAX_NODES
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
        if self.budgets is not None and self.history is None:
            raise UsageError(
                "--budgets needs --history", hint="what of a month is used is in the history"
            )
        if self.flow_log_cost and not (self.prices.shipped or self.prices.files):
            raise UsageError("--flow-log-cost needs prices", hint="omit --prices off")
        self._check_labels()
        try:
            self.default_zone.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"--default-zone {self.default_zone!a} is not UTF-8") from error
        if self.cluster and not _CLUSTER.fullmatch(self.cluster):
            raise UsageError(
                f"--cluster {self.cluster[:80]!a} is not a name",
                hint="letters, digits and . _ - : / @, at most 128",
            )
        for account in self.agent_accounts:
            if not _ACCOUNT.fullmatch(account):
                raise UsageError(f"{account!r} is not a ServiceAccount", hint="use NAMESPACE/NAME")

    def _check_labels(self) -> None:
        of_kubernetes = {
            "--zone-ids": self.zone_ids,
            "--zone-label": self.zone_label,
            "--region-label": self.region_label,
            "--group-label": self.group_labels,
        }
        given = [option for option, value in of_kubernetes.items() if value]
        if self.topology is not None and given:
            raise UsageError(
                f"{given[0]} needs objects of Kubernetes, and --topology is a file",
                hint="a pod of the file has its group by `group: NAME`"
                if given == ["--group-label"]
                else "write zones and regions as they are to be compared into the file",
            )
        if len(set(self.group_labels)) != len(self.group_labels):
            raise UsageError("--group-label has a key twice")
        if len(self.group_labels) > MAX_KEYS:
            raise UsageError(f"--group-label has more than {MAX_KEYS} keys")
        for label in (self.zone_label, self.region_label, *self.group_labels):
            if not _LABEL.fullmatch(label) and (label or label in self.group_labels):
                raise UsageError(f"{label!r} is not the key of a label")
        if self.zone_ids and self.zone_label:
            raise UsageError("--zone-ids and --zone-label exclude each other")


def node_limit(series: Mapping[str, int]) -> int:
    """How many nodes have totals of their own, by the name `NODE_LIMIT`; UsageError."""
    number = series.get(NODE_LIMIT, MAX_NODES)
    if not 1 <= number <= MAX_SERIES:
        raise UsageError(f"{number} nodes with totals is out of range", hint=f"1 to {MAX_SERIES}")
    return number


def log_classes(text: str) -> tuple[str, ...]:
    """The classes in ``text``, with commas between them, or ``all``; UsageError for another."""
    if text.strip() == "all":
        return LOGGED_CLASSES
    classes = tuple(filter(None, map(str.strip, text.split(","))))
    for name in classes:
        if name not in LOGGED_CLASSES:
            raise UsageError(f"{name!r} is not a class of flows", hint=", ".join(LOGGED_CLASSES))
    if not classes:
        raise UsageError("--flow-log-classes has no class", hint=", ".join(LOGGED_CLASSES))
    return classes


def ledger_limits(
    series: Mapping[str, int], families: Sequence[str], *, nodes_as_pods: bool = False
) -> LedgerLimits:
    """Limits of the ledger with these families only; UsageError for one that does not exist."""
    series = {name: number for name, number in series.items() if name != NODE_LIMIT}
    for name in families:
        if name not in FAMILIES:
            raise UsageError(f"{name!r} is not a family of series", hint=", ".join(FAMILIES))
    if nodes_as_pods and "pod" not in families:
        raise UsageError("--nodes-as-pods needs family pod", hint="add it to --families")
    off = frozenset(FAMILIES) - set(families)
    return LedgerLimits(series, off=off, nodes_as_pods=nodes_as_pods)
