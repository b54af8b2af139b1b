"""The answers of /api/v1 as values. The names of the fields are the JSON keys (docs/api.md). Pure.

The server builds these values and `to_objects`, `listed` and ``to_json`` make its answers of them;
`rows` and ``from_json`` read them. Reading raises KeyError, TypeError, ValueError or AttributeError
for an answer of another shape; keys that are not known are ignored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from kzn.model.totals import Counts

MAX_LIMIT = 100_000
"""Most rows in one answer."""
MAX_ADDRESSES = 100
"""Most addresses in one request: the server answers on its event loop, and the query must fit into
a request line."""
UNNAMED = ("external", "unknown", "ambiguous")
"""Values of ``owner`` for an address that has no single known owner."""

_R = TypeVar("_R", bound=NamedTuple)


class ZoneRow(NamedTuple):
    """A row of ``zones``. A zone is empty outside the cluster. ``class_`` is key ``class``."""

    src_zone: str
    dst_zone: str
    class_: str
    bytes: int
    cost: float | None = None
    currency: str = ""
    unpriced_bytes: int | None = None


class WorkloadRow(NamedTuple):
    """A row of ``workloads``. A node has no namespace. ``group`` is empty without one."""

    namespace: str
    workload_kind: str
    workload: str
    direction: str
    class_: str
    src_zone: str
    dst_zone: str
    bytes: int
    cost: float | None = None
    currency: str = ""
    unpriced_bytes: int | None = None
    group: str = ""


class PairRow(NamedTuple):
    """A row of ``pairs``: one for each value of ``initiator``.

    A group is empty, too, if workloads of the same name and of two kinds have different ones.
    """

    src_namespace: str
    src_workload: str
    src_zone: str
    dst_namespace: str
    dst_workload: str
    dst_zone: str
    initiator: str
    bytes: int
    cost: float | None = None
    currency: str = ""
    unpriced_bytes: int | None = None
    src_group: str = ""
    dst_group: str = ""


ROWS: dict[str, type[ZoneRow | WorkloadRow | PairRow]] = {
    "zones": ZoneRow,
    "workloads": WorkloadRow,
    "pairs": PairRow,
}
"""Topics that are lists of series: a row is the labels of a series, its bytes and their cost.

``cost`` is None where no byte has a known price, and with the currency "mixed" where bytes are of
several; ``unpriced_bytes`` is None from an older server.
"""
_COST_KEYS = ("cost", "currency", "unpriced_bytes")
_GROUP_KEYS = ("group", "src_group", "dst_group")


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A row of ``nodes``: counts by term, and bytes by term and reason.

    In JSON the terms are flat: ``seen_bytes``, ``seen_packets``, ``missed_by_reason``.
    """

    node: str
    seconds_since_batch: float
    terms: Mapping[str, Counts]
    reasons: Mapping[str, Mapping[str, int]]

    def to_json(self) -> dict[str, Any]:
        """The object of the answer."""
        row: dict[str, Any] = {"node": self.node, "seconds_since_batch": self.seconds_since_batch}
        for term, counts in self.terms.items():
            row |= {f"{term}_bytes": counts.bytes, f"{term}_packets": counts.packets}
        return row | {f"{term}_by_reason": found for term, found in self.reasons.items()}


@dataclass(frozen=True, slots=True)
class StatusBytes:
    """Bytes of all nodes by term."""

    seen: int
    attributed: int
    transit: int
    ignored: int
    unresolved: int
    missed: int
    held: int


@dataclass(frozen=True, slots=True)
class TopologyStatus:
    """One topology source: whether its first list is complete, its objects, seconds by resource."""

    source: str
    ready: bool
    nodes: int
    pods: int
    networks: int
    staleness_seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PriceListRow:
    """A price list that priced traffic, and since when; ``date`` is when its source was read."""

    provider: str
    list: str
    currency: str
    valid_from: str
    date: str


@dataclass(frozen=True, slots=True)
class Status:
    """The answer of ``status``. ``refused`` is connections by reason.

    ``instance`` is the number of the server's ledger, empty from an older server. ``nodes`` have
    sent it batches. Of ``nodes_known`` in the topology, ``nodes_reporting`` report to this server
    now; with one server per zone the others report elsewhere.
    """

    version: str
    ready: bool
    why_not_ready: str
    agents: int
    nodes: int
    batches: int
    flows: int
    duplicates: int
    refused: Mapping[str, int]
    bytes: StatusBytes
    topology: tuple[TopologyStatus, ...]
    instance: str = ""
    nodes_known: int = 0
    nodes_reporting: int = 0
    nodes_without_agent: int = 0
    prices: tuple[PriceListRow, ...] = ()
    proposals: int | None = None
    """Of /api/v1/advice; None before the first answer, and from an older server."""
    saving_per_month: Mapping[str, float] = field(default_factory=dict)
    connected_seconds: float | None = None
    """Since the first of the connected agents came; None without one."""
    first_batch_seconds: float | None = None
    """Until the first interval ends at the latest; None after the first batch or if not known."""

    def to_json(self) -> dict[str, Any]:
        """The object of the answer."""
        return asdict(self)

    @classmethod
    def from_json(cls, answer: Any) -> "Status":
        """Read the object of an answer."""
        counts = {name: int(answer[name]) for name in _STATUS_COUNTS}
        return cls(
            version=str(answer["version"]),
            ready=bool(answer["ready"]),
            why_not_ready=str(answer["why_not_ready"]),
            refused={str(reason): int(n) for reason, n in answer["refused"].items()},
            bytes=StatusBytes(
                **{f.name: int(answer["bytes"][f.name]) for f in fields(StatusBytes)}
            ),
            topology=tuple(_topology_status(source) for source in answer["topology"]),
            instance=str(answer.get("instance", "")),
            prices=tuple(
                PriceListRow(**{f.name: str(one[f.name]) for f in fields(PriceListRow)})
                for one in answer.get("prices", ())
            ),
            proposals=None if answer.get("proposals") is None else int(answer["proposals"]),
            saving_per_month={
                str(name): float(amount)
                for name, amount in answer.get("saving_per_month", {}).items()
            },
            **{name: int(answer.get(name, 0)) for name in _COVERAGE_COUNTS},
            connected_seconds=_seconds(answer.get("connected_seconds")),
            first_batch_seconds=_seconds(answer.get("first_batch_seconds")),
            **counts,
        )


_COVERAGE_COUNTS = ("nodes_known", "nodes_reporting", "nodes_without_agent")
_STATUS_COUNTS = ("agents", "nodes", "batches", "flows", "duplicates")


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)


@dataclass(frozen=True, slots=True)
class AddressOwner:
    """A row of ``addresses``: who has an address now. ``owner`` is its kind.

    pod, node, static, or one of UNNAMED, which have no other fields in JSON. ``known_by`` is agent
    if the address is a node's only because the node's agent told it.
    """

    address: str
    owner: str
    namespace: str = ""
    name: str = ""
    workload_kind: str = ""
    workload: str = ""
    node: str = ""
    zone: str = ""
    region: str = ""
    known_by: str = ""

    @property
    def label(self) -> str:
        """``namespace/name`` or ``name``; empty without a name."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def to_json(self) -> dict[str, str]:
        """The object of the answer."""
        if self.owner in UNNAMED:
            return {"address": self.address, "owner": self.owner}
        return asdict(self)

    @classmethod
    def from_json(cls, row: Any) -> "AddressOwner":
        """Read one object of the answer."""
        rest = {f.name: str(row.get(f.name, "")) for f in fields(cls)[2:]}
        return cls(str(row["address"]), str(row["owner"]), **rest)


def keys(row: type[NamedTuple]) -> tuple[str, ...]:
    """The JSON keys of a row, in the order of its fields."""
    return tuple(name.removesuffix("_") for name in row._fields)


def listed(topic: str, objects: list[dict[str, Any]], of: int) -> dict[str, Any]:
    """The answer of a topic that is a list; ``of`` is the number of rows before the limit."""
    return {topic: objects, "of": of}


def to_objects(row: type[_R], found: Iterable[_R]) -> list[dict[str, Any]]:
    """Rows as JSON objects."""
    names = keys(row)
    return [dict(zip(names, values, strict=True)) for values in found]


def rows(topic: str, row: type[_R], answer: Any) -> tuple[list[_R], int]:
    """The rows of an answer, and how many the server has in all."""
    names = [name for name in keys(row) if name not in (*_COST_KEYS, *_GROUP_KEYS)]
    groups = [name for name in keys(row) if name in _GROUP_KEYS]  # an older server has none
    get, found = itemgetter(*names), []
    for one in answer[topic]:
        *labels, total = get(one)
        cost, unpriced = one.get("cost"), one.get("unpriced_bytes")
        costs = (
            None if cost is None else float(cost),
            str(one.get("currency", "")),
            None if unpriced is None else int(unpriced),
        )
        named = (str(one.get(name, "")) for name in groups)
        found.append(row._make((*map(str, labels), int(total), *costs, *named)))
    return found, int(answer["of"])


def _topology_status(source: Any) -> TopologyStatus:
    return TopologyStatus(
        source=str(source["source"]),
        ready=bool(source["ready"]),
        nodes=int(source["nodes"]),
        pods=int(source["pods"]),
        networks=int(source["networks"]),
        staleness_seconds={str(k): float(v) for k, v in source["staleness_seconds"].items()},
    )
