"""Codes of label values, for the keys of series; and the codes of an endpoint.

In: endpoints of the index, or saved labels. Out: codes, and the labels and the endpoint of a code.
A code keeps its labels as long as a series uses it, while endpoint ids end with their pods; so the
codes of an endpoint id are cached for a minute only.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kzn.columns.arrays import I32, I64
from kzn.columns.interner import Interner
from kzn.model.endpoint import NODE, POD, Endpoint, EndpointIndex
from kzn.server.ledger.places import NONE, OTHER, ZONE_BITS, Places

OTHER_LABEL = "other"
NODES_NAMESPACE = "_node_"
"""As in kubezonnet; no namespace of Kubernetes can have this name."""

LABEL_BITS = 20
CURRENCY_BITS = 4

_NOT_LOOKED_UP = -1
_VALID_UNTIL = 4  # column of the cache, in whole seconds
_CACHE_SECONDS = 60
"""Far below the time after which the index may reuse an endpoint id."""
_ALWAYS, _NEVER = (1 << 31) - 1, -(1 << 31)

Labels = tuple[str, ...]

LabelKind = Literal["pod", "workload", "owner", "zone", "currency"]
LabelTables = Mapping[LabelKind, Sequence[Labels]]
"""The label values of each code, by kind of name."""

OWNED_KINDS: dict[LabelKind, int] = {"pod": 2, "workload": 3, "owner": 2}
"""The kinds of labels that belong to endpoints, and how many labels each kind has."""


class OwnedLabels:
    """Codes of label tuples, and for each code the endpoint that last had these labels.

    There are at most 2 ** ``bits`` codes, `NONE` and `OTHER` among them.
    """

    __slots__ = ("_changed", "_freed", "_has_name", "_interner", "_limit", "owners")

    def __init__(self, width: int, bits: int) -> None:
        self._limit = 1 << bits
        self._interner: Interner[Labels] = Interner([("",) * width, (OTHER_LABEL,) * width])
        self.owners: list[Endpoint | None] = [None, None]
        self._has_name = bytearray(2)  # by code; 0 for NONE and OTHER, which are never freed
        self._changed: set[int] = set()
        self._freed: list[Labels] | None = None

    def __len__(self) -> int:
        return len(self._interner)

    @property
    def labels(self) -> list[Labels]:
        """The labels by code."""
        return self._interner.names

    def code(self, labels: Labels, owner: Endpoint | None) -> int:
        """The code of ``labels``, a new one if need be, `OTHER` when there are too many."""
        code = self._interner.get(labels)
        if code is None:
            if len(self._interner) >= self._limit:
                return OTHER
            code = self._interner.code(labels)
            if code == len(self.owners):
                self.owners.append(None)
                self._has_name.append(1)
            else:
                self._has_name[code] = 1
        if owner is not None and code > OTHER:
            self.seen(code, owner)
        return code

    def seen(self, code: int, owner: Endpoint) -> None:
        """``owner`` has the labels of ``code``, which is neither `NONE` nor `OTHER`."""
        known = self.owners[code]
        # Of most workloads another pod was the last; comparing all facts takes a microsecond.
        if known is not owner and (known is None or known.uid != owner.uid or known != owner):
            self.owners[code] = owner
            if self._freed is not None:
                self._changed.add(code)

    def share(self) -> list[Labels]:
        """The labels by code for a reader in another thread or later."""
        return self._interner.share()

    def free_unused(self, used: Iterable[I64], most: int) -> list[int]:
        """Free up to ``most`` codes that are in none of ``used``, for other labels; returns them.

        Codes are freed in the order of their numbers; less than ``most`` are all.
        """
        unused = np.array(self._has_name, np.bool_)
        for codes in used:
            unused[codes] = False
        free: list[int] = np.flatnonzero(unused)[:most].tolist()
        for code in free:
            self._interner.free(code)
            self._has_name[code] = 0
            self.owners[code] = None
            self._changed.discard(code)
            if self._freed is not None:
                self._freed.append(self.labels[code])
        return free

    def watch(self) -> None:
        """Record changes from now on, for `changed`."""
        self._freed = []
        self._changed.clear()

    def changed(self) -> "LabelOwners":
        """Labels freed and owners changed since the last call."""
        freed, self._freed = self._freed or [], []
        codes, self._changed = self._changed, set()
        labels, owners = self.labels, self.owners
        found = [(labels[code], owner) for code in codes if (owner := owners[code]) is not None]
        return LabelOwners(freed, found)


@dataclass(frozen=True, slots=True)
class LabelOwners:
    """Labels that were freed, and the new owners of others."""

    freed: list[Labels]
    changed: list[tuple[Labels, Endpoint]]


class Zones:
    """Codes of zones, by region and name; the label is the zone's name.

    Where two regions have zones of one name, the first that was seen has the plain name as label,
    the others REGION/NAME. A cluster has few zones, so codes are never freed.
    """

    __slots__ = ("_codes", "interned")

    def __init__(self) -> None:
        self.interned = OwnedLabels(1, ZONE_BITS)
        self._codes: dict[tuple[str, str], int] = {}

    def code(self, region: str, zone: str) -> int:
        """The code of a zone, `NONE` for an unknown one."""
        if not zone:
            return NONE
        code = self._codes.get((region, zone))
        if code is None:
            taken = any(name == zone and other != region for other, name in self._codes)
            code = self.interned.code((f"{region}/{zone}" if taken else zone,), None)
            self._codes[region, zone] = code
        return code

    def known_code(self, region: str, zone: str) -> int:
        """The code of a zone that has one, else `NONE`."""
        return self._codes.get((region, zone), NONE)

    def rows(self) -> list[tuple[str, str, str]]:
        """Region, zone and label of every zone."""
        labels = self.interned.labels
        return [(*key, labels[code][0]) for key, code in self._codes.items()]

    def restore(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """Restore saved labels; to be called before the first `code`."""
        for region, zone, label in rows:
            self._codes[region, zone] = self.interned.code((label,), None)


@dataclass(frozen=True, slots=True, eq=False)
class EndpointCodes:
    """Ledger codes of n endpoints, each (n,).

    ``workload`` is the code of (namespace, kind, name), ``owner`` of the same without the kind, as
    in the labels of pairs. ``place`` is where its bytes are billed (places.py).
    """

    workload: I64
    owner: I64
    zone: I64
    place: I64


class LabelCodes:
    """The codes of all labels of the ledger, and a cache of the codes of endpoints.

    Row 0 of the cache is for all negative endpoint ids, row n + 1 for id n. With ``nodes_as_pods``
    nodes have codes of pods, in the namespace NODES_NAMESPACE.
    """

    __slots__ = (
        "_cache",
        "_learned",
        "_nodes_as_pods",
        "_places_known",
        "_pods",
        "currencies",
        "owned",
        "owners",
        "places",
        "pods",
        "workloads",
        "zones",
    )

    def __init__(self, *, nodes_as_pods: bool = False) -> None:
        self._nodes_as_pods = nodes_as_pods
        self.owned = {kind: OwnedLabels(width, LABEL_BITS) for kind, width in OWNED_KINDS.items()}
        self.pods = self.owned["pod"]
        self.workloads = self.owned["workload"]
        self.owners = self.owned["owner"]
        self.zones = Zones()
        self.places = Places()
        self.currencies = OwnedLabels(1, CURRENCY_BITS)
        self._cache = np.array([(NONE, NONE, NONE, NONE, _ALWAYS)], np.int32)
        self._pods = np.array([NONE], np.int32)
        self._learned: list[Endpoint | None] = [None]
        """What each row of the cache is from, so that nothing is looked up again for the same."""
        self._places_known = self.places.known

    def of_kind(self, kind: LabelKind) -> OwnedLabels:
        """The codes of one kind of labels."""
        if kind == "currency":
            return self.currencies
        return self.zones.interned if kind == "zone" else self.owned[kind]

    def tables(self) -> dict[LabelKind, list[Labels]]:
        """The label values of each code: live lists, valid until a code is freed."""
        kinds: tuple[LabelKind, ...] = (*OWNED_KINDS, "zone", "currency")
        return {kind: self.of_kind(kind).labels for kind in kinds}

    def shared_tables(self, kinds: Collection[LabelKind | None]) -> dict[LabelKind, list[Labels]]:
        """The label values of each code of ``kinds``, for a reader in another thread or later."""
        return {kind: self.of_kind(kind).share() for kind in self.tables() if kind in kinds}

    def of_endpoints(self, endpoints: I32, index: EndpointIndex, now: float) -> EndpointCodes:
        """The codes of ``endpoints``; `NONE` throughout for negative ids."""
        at = np.maximum(endpoints, -1) + 1
        if len(at) and (top := int(at.max())) >= len(self._cache):
            self._grow(top)
        rows = self._cache.take(at, axis=0)
        stale = rows[:, _VALID_UNTIL] <= now
        if stale.any():
            distinct, first = np.unique(endpoints[stale], return_index=True)
            # In the order of flows, so that batches applied together name zones as one by one.
            self._renew(distinct[np.argsort(first)], index, now)
            rows = self._cache.take(at, axis=0)
        return EndpointCodes(*rows.T[:_VALID_UNTIL].astype(np.int64))

    def of_pods(self, endpoints: I32, index: EndpointIndex) -> I64:
        """The codes of pods, and maybe nodes; `NONE` for other endpoints.

        The caller has just called `of_endpoints` with these ids. A pod gets a code at its first
        call only, since most pods never send to another zone.
        """
        at = np.maximum(endpoints, -1) + 1
        found = self._pods.take(at).astype(np.int64)
        for row in np.flatnonzero(found == _NOT_LOOKED_UP).tolist():
            found[row] = self._pods[at[row]] = self._pod(index.endpoint(int(endpoints[row])))
        return found

    def provider_of(self, endpoint: Endpoint) -> str:
        """The provider that an endpoint's bytes are billed by; any thread may ask."""
        zone = self.zones.known_code(endpoint.region, endpoint.zone)
        return self.places.provider(endpoint, zone)

    def _pod(self, endpoint: Endpoint) -> int:
        if endpoint.kind == NODE and self._nodes_as_pods:
            return self.pods.code((NODES_NAMESPACE, endpoint.name), endpoint)
        if endpoint.kind != POD:
            return NONE
        return self.pods.code((endpoint.namespace, endpoint.name), endpoint)

    def free_unused(self, used: Mapping[LabelKind, Iterable[I64]], most: int) -> bool:
        """Free up to ``most`` labels of each kind whose codes are in none of ``used``.

        Returns whether there may be more.
        """
        freed = {kind: self.owned[kind].free_unused(codes, most) for kind, codes in used.items()}
        columns: tuple[tuple[LabelKind, I32], ...] = (
            ("workload", self._cache[:, 0]),
            ("owner", self._cache[:, 1]),
            ("pod", self._pods),
        )
        for kind, column in columns:
            if freed.get(kind):
                is_free = np.zeros(len(self.owned[kind].owners), np.bool_)
                is_free[freed[kind]] = True
                # Below 0 is an endpoint without codes; row 0, of no endpoint, has NONE.
                self._cache[is_free.take(np.maximum(column, NONE)), _VALID_UNTIL] = _NEVER
        return any(len(codes) == most for codes in freed.values())

    def _grow(self, top: int) -> None:
        room = 2 * top - len(self._cache)
        self._cache = np.append(self._cache, np.full((room, 5), _NEVER, np.int32), axis=0)
        self._pods = np.append(self._pods, np.full(room, _NOT_LOOKED_UP, np.int32))
        self._learned += [None] * room

    def _renew(self, endpoints: I32, index: EndpointIndex, now: float) -> None:
        """The codes of distinct ``endpoints`` are valid from now on."""
        if self._places_known != self.places.known:
            self._places_known = self.places.known
            self._learned = [None] * len(self._learned)
        at = endpoints + 1
        found: list[tuple[int, int, int, int]] = []
        for row, (workload, owner, zone, place, valid_until) in zip(
            at.tolist(), self._cache.take(at, axis=0).tolist(), strict=True
        ):
            facts = index.endpoint(row - 1)
            if valid_until == _NEVER or self._learned[row] is not facts:
                found.append(self._learn(facts))
                self._learned[row] = facts
                self._pods[row] = _NOT_LOOKED_UP
                continue
            # The series of its labels live as long as the one that was seen last.
            for labels, code in ((self.workloads, workload), (self.owners, owner)):
                if code > OTHER:
                    labels.seen(code, facts)
            found.append((workload, owner, zone, place))
        self._cache[at, :_VALID_UNTIL] = found
        self._cache[at, _VALID_UNTIL] = int(now) + _CACHE_SECONDS

    def _learn(self, facts: Endpoint) -> tuple[int, int, int, int]:
        name = facts.workload or facts.name
        zone = self.zones.code(facts.region, facts.zone)
        return (
            self.workloads.code((facts.namespace, facts.workload_kind, name), facts),
            self.owners.code((facts.namespace, name), facts),
            zone,
            self.places.code(facts, zone),
        )
