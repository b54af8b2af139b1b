"""Which HTTP connections may be open: limits in all and for each address, and on unsent bytes.

In: connections that open, wait for a request, are answered, and close. Out: the connections to cut.
Pure: `cut` of a connection does the work.

A connection that waits for a request gives its place to a new one; one that is being answered does
not. So clients that connect and send nothing cannot keep out those that ask.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from kzn.daemon.http.body import Body


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Numbers of connections, bytes, and seconds."""

    connections: int = 64
    connections_per_address: int = 8
    head_bytes: int = 8192
    head: float = 5.0
    """From the first byte of a request (TLS and the first request: from the connection) to the end
    of its head."""
    keep_alive: float = 75.0
    """From an answer to the next request; 0: one request for each connection."""
    answer: float = 30.0
    """For a route to give its answer."""
    write: float = 10.0
    """For the client to take a piece of 64 KiB."""
    whole_write: float = 60.0
    """For the client to take a whole answer."""
    unsent_bytes: int = 64 << 20
    """Of the bodies that are being sent; one that many clients read counts once."""


class Place(Protocol):
    """One connection."""

    address: str

    def cut(self, reason: str) -> None:
        """Reset the connection, counted under ``reason``."""
        ...


class Places:
    """The open connections, those that wait for a request oldest first."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._open: dict[Place, None] = {}
        self._waiting: dict[Place, None] = {}
        self._by_address: Counter[str] = Counter()
        self._sending: dict[Place, Body] = {}

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, place: Place) -> str:
        """A new connection, which waits for its first request: empty, or the limit it exceeds."""
        address = place.address
        if self._by_address[address] >= self._limits.connections_per_address:
            if not self._make_room(address):
                return "connections_per_address"
        elif len(self._open) >= self._limits.connections and not self._make_room():
            return "connections"
        self._open[place] = self._waiting[place] = None
        self._by_address[address] += 1
        return ""

    def leave(self, place: Place) -> None:
        """The connection has ended; nothing if it never entered or was cut to make room."""
        if place not in self._open:
            return
        del self._open[place]
        self._waiting.pop(place, None)
        self._sending.pop(place, None)
        self._by_address[place.address] -= 1
        if not self._by_address[place.address]:
            del self._by_address[place.address]

    def waits(self, place: Place) -> None:
        """The connection waits for a request."""
        if place in self._open:
            self._waiting[place] = None

    def is_waiting(self, place: Place) -> bool:
        """Whether the connection waits for a request."""
        return place in self._waiting

    def asks(self, place: Place) -> None:
        """The connection has sent a request."""
        self._waiting.pop(place, None)

    def sends(self, place: Place, body: Body) -> None:
        """``body`` is being sent; the oldest other answers are cut if all are too large."""
        self._sending.pop(place, None)
        self._sending[place] = body
        while self.unsent_bytes > self._limits.unsent_bytes:
            oldest = next(iter(self._sending))
            if oldest is place:
                return
            del self._sending[oldest]
            oldest.cut("unsent")

    def sent(self, place: Place) -> None:
        """The answer was taken."""
        self._sending.pop(place, None)

    @property
    def unsent_bytes(self) -> int:
        """Memory of the bodies that are being sent."""
        return sum(body.stored for body in {id(b): b for b in self._sending.values()}.values())

    def _make_room(self, address: str | None = None) -> bool:
        for place in self._waiting:
            if address is None or place.address == address:
                self.leave(place)
                place.cut("evicted")
                return True
        return False
