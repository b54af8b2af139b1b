"""A proposal of /api/v1/advice as `kzn diff --advice` needs it: what was measured, and predicted.

In: the JSON of an answer. Out: a `Proposed`, and the filters of questions about its flows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from kzn.history.query import MAX_VALUES

Where = tuple[tuple[str, tuple[str, ...]], ...]
Party = tuple[str, str, str, str]
"""Kind, namespace, kind of the workload, name."""
MOST_QUESTIONS = 40
"""Filters of one proposal: `kzn diff` asks each four times, one after another."""
_Form = tuple[str, str, str]
_One = TypeVar("_One")
_REQUEST, _RESPONSE = ("source", "unknown"), ("destination",)


@dataclass(frozen=True, slots=True)
class MeasuredPair:
    """A client, a server and the port that the client connects to."""

    client: Party
    server: Party
    port: int
    protocol: str


@dataclass(frozen=True, slots=True)
class Proposed:
    """One proposal. ``saved`` are bytes of ``measured`` in its window that would stay.

    ``begin`` and ``end`` are that window. ``is_made`` is False for one that is made no more.
    """

    id: str
    title: str
    begin: int
    end: int
    is_made: bool
    measured: int
    crossing: int
    saved: float
    pairs: tuple[MeasuredPair, ...]
    all_pairs: int

    @classmethod
    def from_json(cls, found: Any) -> "Proposed | None":
        """The only proposal of an answer, None without one; KeyError, ... for another shape."""
        if not found["proposals"]:
            return None
        (one,) = found["proposals"]
        window, end = one["window"], int(found["window"]["to"])
        return cls(
            id=str(one["id"]),
            title=str(one["title"]),
            begin=int(window["from"]),
            end=int(window["to"]),
            is_made=int(window["to"]) >= end,
            measured=int(one["measured"]["bytes"]),
            crossing=int(one["measured"]["crossing_bytes"]),
            saved=float(one["saved_bytes"]),
            pairs=tuple(
                MeasuredPair(
                    _party(pair["client"]),
                    _party(pair["server"]),
                    int(pair["port"]),
                    str(pair["protocol"]),
                )
                for pair in one["pairs"]
            ),
            all_pairs=int(one["all_pairs"]),
        )

    @property
    def share_before(self) -> float:
        """The share that crossed when it was measured."""
        return self.crossing / self.measured if self.measured else 0.0

    @property
    def share_predicted(self) -> float:
        """The share that should cross once the change is made."""
        left = max(0.0, self.crossing - self.saved)
        return left / self.measured if self.measured else 0.0


@dataclass(frozen=True, slots=True)
class _Box:
    """Each of ``clients`` talks to each of ``servers`` at each of ``ports``: one question in each
    direction, and exactly these pairs.
    """

    clients: tuple[Party, ...]
    servers: tuple[Party, ...]
    ports: tuple[int, ...]
    protocol: str

    @property
    def pairs(self) -> int:
        """How many it has."""
        return len(self.clients) * len(self.servers) * len(self.ports)


def filters(pairs: tuple[MeasuredPair, ...]) -> Iterator[Where]:
    """Filters of questions whose answers together have each flow of ``pairs`` once.

    Clients of one kind that use the same ports of the same servers of one kind are one question in
    each direction. Beyond `MOST_QUESTIONS` pairs are left out (`compared`), the last first.
    """
    for box in _boxes(pairs):
        rest: Where = (
            ("port", tuple(map(str, box.ports))),
            ("protocol", (box.protocol,)),
        )
        for near, far, initiator in (("src", "dst", _REQUEST), ("dst", "src", _RESPONSE)):
            yield (
                *_is(near, box.clients),
                *_is(far, box.servers),
                *rest,
                ("initiator", initiator),
            )


def compared(pairs: tuple[MeasuredPair, ...]) -> int:
    """How many of ``pairs`` the questions of `filters` are about."""
    return sum(box.pairs for box in _boxes(pairs))


def _boxes(pairs: tuple[MeasuredPair, ...]) -> list[_Box]:
    """Those of the first pairs, at most as many as `MOST_QUESTIONS` allows."""
    of_port: dict[tuple[_Form, Party, int, str], dict[Party, None]] = {}
    for pair in pairs:
        key = _form(pair.client), pair.server, pair.port, pair.protocol
        of_port.setdefault(key, {})[pair.client] = None
    of_clients: dict[tuple[tuple[Party, ...], _Form, int, str], list[Party]] = {}
    for (_, server, port, protocol), clients in of_port.items():
        for some in _parts(tuple(clients)):
            of_clients.setdefault((some, _form(server), port, protocol), []).append(server)
    of_both: dict[tuple[tuple[Party, ...], tuple[Party, ...], str], list[int]] = {}
    for (some, _, port, protocol), servers_ in of_clients.items():
        for others in _parts(tuple(servers_)):
            of_both.setdefault((some, others, protocol), []).append(port)
    boxes = [
        _Box(clients, servers_, ports, protocol)
        for (clients, servers_, protocol), all_ports in of_both.items()
        for ports in _parts(tuple(all_ports))
    ]
    return boxes[: MOST_QUESTIONS // 2]


def servers(proposal: Proposed) -> Where:
    """The filter of what is sent to the servers of a proposal; none of more than may be named."""
    parties = dict.fromkeys(pair.server for pair in proposal.pairs if pair.server[1])
    if not 0 < len(parties) <= MAX_VALUES:
        return ()
    kinds = tuple(dict.fromkeys(one[2] for one in parties))
    names = tuple(f"{one[1]}/{one[3]}" for one in parties)
    return ("dst_workload_kind", kinds), ("dst_workload", names)


def _form(party: Party) -> _Form:
    """What parties of one filter have in common; one without a namespace has no NAMESPACE/NAME, so
    it stands alone.
    """
    kind, namespace, workload_kind, name = party
    return kind, workload_kind, "" if namespace else name


def _parts(values: tuple[_One, ...]) -> Iterator[tuple[_One, ...]]:
    """As many together as a filter may have."""
    for begin in range(0, len(values), MAX_VALUES):
        yield values[begin : begin + MAX_VALUES]


def _is(side: str, parties: tuple[Party, ...]) -> Where:
    kind, namespace, workload_kind, name = parties[0]
    found: Where = ((f"{side}_kind", (kind,)), (f"{side}_workload_kind", (workload_kind,)))
    if namespace:
        names = tuple(f"{one[1]}/{one[3]}" for one in parties)
        return (*found, (f"{side}_workload", names))
    return (*found, (f"{side}_namespace", ("",)), (f"{side}_workload", (name,)))


def _party(found: Any) -> Party:
    kind, namespace, workload_kind, name = (
        str(found[key]) for key in ("kind", "namespace", "workload_kind", "workload")
    )
    return kind, namespace, workload_kind, name
