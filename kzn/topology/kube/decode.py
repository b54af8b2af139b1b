"""List pages and watch lines of the API server to facts.

In: the body of a list page, or one line of a watch. Out: facts, and how many objects could not be
decoded. Never: a page rejected because of one bad object.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import msgspec

from kzn.errors import ApiError
from kzn.topology.facts import NodeFacts, OwnerFacts, PodFacts, ServiceFacts
from kzn.topology.kube.api_objects import (
    UNREADABLE,
    Earliest,
    Json,
    Node,
    Owner,
    PlaceLabels,
    Pod,
    node_facts,
    owner_facts,
    pod_facts,
)
from kzn.topology.kube.routing.service import Service, service_facts

S = TypeVar("S", bound=Json)
T = TypeVar("T")


class _ListMeta(Json):
    resource_version: str = ""
    next: str = msgspec.field(default="", name="continue")


class _Page(Json, Generic[S]):
    metadata: _ListMeta
    items: list[S] | None  # required, to tell a list from a Status; null for a nil slice in Go


class _RawPage(Json):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None


class _Line(Json):
    type: str
    object: msgspec.Raw


class _VersionMeta(Json):
    uid: str = ""
    resource_version: str = ""


class _Versioned(Json):
    metadata: _VersionMeta


class _Status(Json):
    code: int = 0
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; ``next`` is the continue token, empty on the last page.

    ``unreadable`` has the uid of each object that could not be decoded, "" where the uid cannot be
    decoded either.
    """

    items: Sequence[T]
    version: str
    next: str
    unreadable: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Event(Generic[T]):
    """One line of a watch; ``item`` is None for a bookmark and an object that cannot be decoded."""

    type: str
    uid: str
    version: str
    item: T | None


@dataclass(frozen=True, slots=True)
class ApiStatus:
    """The Status object that the API server sends in place of data."""

    code: int
    reason: str
    message: str


class Codec(Generic[S, T]):
    """Decodes pages and watch lines of one resource."""

    def __init__(self, struct: type[S], facts: Callable[[S], T]) -> None:
        page = _Page[struct]  # type: ignore[valid-type]  # a type made from a value, for msgspec
        self._page: msgspec.json.Decoder[_Page[S]] = msgspec.json.Decoder(page)
        self._object = msgspec.json.Decoder(struct)
        self._facts = facts

    def page(self, body: bytes) -> Page[T]:
        """A list page; ApiError when ``body`` is not one."""
        try:
            page = self._page.decode(body)
            items = [self._facts(item) for item in page.items or ()]
        except UNREADABLE:
            return self._page_by_object(body)
        return Page(items, page.metadata.resource_version, page.metadata.next)

    def _page_by_object(self, body: bytes) -> Page[T]:
        try:
            page = _RAW_PAGE.decode(body)
        except UNREADABLE as error:
            raise ApiError(f"response of {len(body)} bytes is not a list: {error}") from error
        pairs = [(raw, self._read(raw)) for raw in page.items or ()]
        items = [item for _, item in pairs if item is not None]
        unreadable = [_uid(raw) for raw, item in pairs if item is None]
        return Page(items, page.metadata.resource_version, page.metadata.next, unreadable)

    def line(self, line: bytes) -> Event[T] | ApiStatus:
        """One line of a watch; ApiError when ``line`` is not a watch event."""
        try:
            event = _LINE.decode(line)
            if event.type == "ERROR":
                return status(event.object)
            meta = _VERSIONED.decode(event.object).metadata
        except UNREADABLE as error:
            raise ApiError(f"line of {len(line)} bytes is not a watch event: {error}") from error
        item = None if event.type == "BOOKMARK" else self._read(event.object)
        return Event(event.type, meta.uid, meta.resource_version, item)

    def _read(self, raw: msgspec.Raw) -> T | None:
        try:
            return self._facts(self._object.decode(raw))
        except UNREADABLE:
            return None


def _uid(raw: msgspec.Raw) -> str:
    try:
        return _VERSIONED.decode(raw).metadata.uid
    except UNREADABLE:
        return ""


def status(body: bytes | msgspec.Raw) -> ApiStatus:
    """The Status in the body of an error response; an empty one when it has none."""
    try:
        read = _STATUS.decode(body)
    except UNREADABLE:
        return ApiStatus(0, "", "")
    return ApiStatus(read.code, read.reason, read.message)


_RAW_PAGE = msgspec.json.Decoder(_RawPage)
_LINE = msgspec.json.Decoder(_Line)
_VERSIONED = msgspec.json.Decoder(_Versioned)
_STATUS = msgspec.json.Decoder(_Status)

PODS: Codec[Pod, PodFacts] = Codec(Pod, pod_facts)
NODES: Codec[Node, NodeFacts] = Codec(Node, node_facts)


def pods_by(earliest: Earliest) -> Codec[Pod, PodFacts]:
    """Pods of which the time of creation counts, too."""
    return Codec(Pod, partial(pod_facts, earliest=earliest))


def nodes_by(places: PlaceLabels) -> Codec[Node, NodeFacts]:
    """Nodes with their zones and regions by other labels."""
    return Codec(Node, partial(node_facts, places=places))


SERVICES: Codec[Service, ServiceFacts] = Codec(Service, service_facts)
OWNERS: Codec[Owner, OwnerFacts] = Codec(Owner, owner_facts)
