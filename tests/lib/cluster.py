"""A small cluster for tests: its topology file, an index of it on a clock that the test moves, and
flows between addresses.

In: one line of text for each node, pod and network. Out: YAML, indices, `Flows`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import yaml

from kzn.model.flows import NO_VIA, Flows
from kzn.model.ip import pack
from kzn.topology.index import AddressIndex
from kzn.topology.static.file import parse_static
from kzn.topology.static.source import StaticSource

TCP = 6
EPOCH = 1e9
"""Wall-clock seconds at time 0 of a `Clock`."""


def cluster(nodes: str, pods: str = "", networks: str = "") -> str:
    """The YAML of a static topology, from one line per object, words between spaces.

    - node: ``NAME [ZONE [REGION]] [ADDRESS...]``; ``-`` stands for no zone or region. The n-th node
      has the address 10.0.0.n when none is given.
    - pod: ``NAMESPACE/NAME NODE ADDRESS[,ADDRESS...] [KIND/WORKLOAD]``
    - network: ``NAME KIND CIDR [ZONE [REGION]]``
    """
    found = {
        "nodes": [_node(n, line.split()) for n, line in enumerate(_lines(nodes), 1)],
        "pods": [_pod(line.split()) for line in _lines(pods)],
        "networks": [_network(line.split()) for line in _lines(networks)],
    }
    return yaml.safe_dump({name: rows for name, rows in found.items() if rows}, sort_keys=False)


def index_of(
    topology: str, clock: "Clock | None" = None, agents: Iterable[str] = ()
) -> AddressIndex:
    """An index that a static topology was read into."""
    clock = clock or Clock(100.0)
    index = AddressIndex(clock=clock.now, wall=clock.wall, agents=[*agents])
    StaticSource(index, parse_static("cluster.yaml", topology))
    return index


@dataclass
class Clock:
    """Monotonic seconds that a test moves; the wall clock moves with them."""

    seconds: float = 1000.0

    def now(self) -> float:
        """Monotonic seconds."""
        return self.seconds

    def wall(self) -> float:
        """Seconds of the epoch."""
        return EPOCH + self.seconds


class IndexWorld:
    """An index on a clock that the test moves; the wall clock moves with it."""

    EPOCH = 1.7e9

    def __init__(self, **options: Any) -> None:
        self.now = 1000.0
        self.index = AddressIndex(
            clock=lambda: self.now, wall=lambda: self.EPOCH + self.now, **options
        )

    def id_at(self, address: bytes, opened: float, closed: float, *, final: bool = True) -> int:
        """The id of the owner of an address in an interval, or a negative code."""
        asked = np.frombuffer(address, np.uint8).reshape(1, 16)
        return int(self.index.lookup(asked, opened, closed, final=final)[0])

    def owner(
        self, address: bytes, opened: float, closed: float, *, final: bool = True
    ) -> str | int:
        """Its uid, or a negative code."""
        found = self.id_at(address, opened, closed, final=final)
        return self.index.endpoint(found).uid if found >= 0 else found


def flows_between(*rows: tuple[Any, ...]) -> Flows:
    """TCP flows without ports, one for each ``(source, destination[, bytes[, packets]])``.

    Addresses are text; 100 bytes and 1 packet unless given.
    """
    full = [(*row, *(100, 1)[len(row) - 2 :]) for row in rows]
    addresses = sorted({end for row in full for end in row[:2]})
    m = len(full)
    return Flows(
        addresses=np.frombuffer(b"".join(map(pack, addresses)), np.uint8).reshape(-1, 16),
        src=np.array([addresses.index(src) for src, *_ in full], np.uint32),
        dst=np.array([addresses.index(dst) for _, dst, *_ in full], np.uint32),
        src_port=np.zeros(m, np.uint16),
        dst_port=np.zeros(m, np.uint16),
        protocol=np.full(m, TCP, np.uint8),
        flags=np.zeros(m, np.uint8),
        packets=np.array([packets for *_, packets in full], np.uint64),
        bytes=np.array([size for _, _, size, _ in full], np.uint64),
    )


def tunnelled(flows: Flows, *vias: str, flags: int = 0) -> Flows:
    """``flows`` with the outer destination of each in text, empty for none, and these flags."""
    known = [row.tobytes() for row in flows.addresses]
    outer = sorted({pack(via) for via in vias if via} - set(known))
    rows = [*known, *outer]
    return replace(
        flows,
        addresses=np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 16),
        flags=flows.flags | np.uint8(flags),
        via=np.array([rows.index(pack(via)) if via else NO_VIA for via in vias], np.uint32)
        if any(vias)
        else None,
    )


def sent_by(flows: Flows, *senders: str) -> Flows:
    """``flows`` with the sender of each in text, empty for none."""
    found = tunnelled(flows, *senders)
    return replace(found, via=None, sender=found.via)


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _node(number: int, words: list[str]) -> Mapping[str, Any]:
    name, *rest = words
    places = [word for word in rest if not _is_address(word)]
    addresses = [word for word in rest if _is_address(word)] or [f"10.0.0.{number}"]
    return {"name": name, **_place(places), "addresses": addresses}


def _pod(words: list[str]) -> Mapping[str, Any]:
    full, node, addresses, *workload = words
    namespace, _, name = full.partition("/")
    row: dict[str, Any] = {"namespace": namespace, "name": name, "node": node}
    row["addresses"] = addresses.split(",")
    if workload:
        row["workload_kind"], _, row["workload"] = workload[0].partition("/")
    return row


def _network(words: list[str]) -> Mapping[str, Any]:
    name, kind, cidr, *place = words
    return {"name": name.replace("_", " "), "kind": kind, "cidr": cidr, **_place(place)}


def _place(words: list[str]) -> Mapping[str, str]:
    return {key: word for key, word in zip(("zone", "region"), words, strict=False) if word != "-"}


def _is_address(word: str) -> bool:
    return "." in word or ":" in word
