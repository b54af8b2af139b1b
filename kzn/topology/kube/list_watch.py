"""List and watch of one resource as a state machine: list, watch from there, retry after failures.

In: pages, watch lines and failures. Out: changes to a sink, the next request, and how long to wait
before it. Never: I/O or sleep; watch.py does both.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Generic, Protocol, TypeVar

from kzn.daemon.backoff import Backoff
from kzn.errors import ApiError, KznError
from kzn.topology.kube.api_objects import Json
from kzn.topology.kube.decode import ApiStatus, Event
from kzn.topology.kube.errors import KubeError, reason_of
from kzn.topology.kube.resources import Resource
from kzn.topology.source import ResourceStats

S = TypeVar("S", bound=Json)
F = TypeVar("F", bound="Identified")

PAGE_SIZE = 500
ITEMS_A_STEP = 100
"""Objects of a list between which the event loop does other work: a page at once takes 40 ms."""
WATCH_SECONDS = (240, 480)
"""timeoutSeconds of a watch, random in this range so that watches do not end together."""
SETTLED_SECONDS = 30.0
"""A watch that lasted this long succeeded, even without events: the backoff is reset."""
LONGEST_RETRY_AFTER = 300.0
LONGEST_BACKOFF = 30.0
WARM_UP_SECONDS = 30.0
"""How long an API server that has come back may refuse what it allowed before."""
WARM_UP_WAIT = (0.3, 1.0)
"""Seconds between two tries meanwhile, random in this range."""
RELIST_AFTER_ERRORS = 2
"""Number of unreadable lines or server errors in a row that cause a new list."""


class Identified(Protocol):
    """Facts of an object that has a uid."""

    @property
    def uid(self) -> str:
        """metadata.uid."""
        ...


@dataclass(frozen=True, slots=True)
class Sink(Generic[F]):
    """Receives the changes: ``put(item, listing)``, listing 0 for a watch event; ``drop(uid)``.

    ``watch_lost(since)``: changes since then are not delivered one by one. ``list_begins()`` is
    called before the first item of the list that follows.
    """

    put: Callable[[F, int], None]
    drop: Callable[[str], None]
    watch_lost: Callable[[float], None] = lambda _since: None
    list_begins: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Request:
    """The next GET."""

    path: str
    parameters: dict[str, str]
    accept: str
    is_watch: bool


@dataclass(frozen=True, slots=True)
class Following:
    """Whether a resource is followed: since ``since``, or not since ``lost``; the other is inf."""

    since: float
    lost: float


class ListWatch(Generic[S, F]):
    """State of one resource's list and watch. ``listings`` numbers the lists of all resources."""

    def __init__(
        self,
        resource: Resource[S, F],
        sink: Sink[F],
        *,
        clock: Callable[[], float],
        rng: Random,
        listings: Iterator[int],
        page_size: int = PAGE_SIZE,
        max_objects: float = inf,
    ) -> None:
        self._max_objects = max_objects
        self.resource = resource
        self.is_listed = False
        self._sink = sink
        self._clock = clock
        self._rng = rng
        self._listings = listings
        self._limit = page_size
        self._backoff = Backoff(rng, longest=LONGEST_BACKOFF)
        self._absence = Backoff(rng, longest=LONGEST_BACKOFF)
        self._refused_since = self._back = -inf
        self.following = Following(since=inf, lost=clock())
        self._known: set[str] = set()
        self._seen: set[str] = set()
        self._listing = self._announced = 0
        self._version = ""
        self._continue = ""
        self._wait = 0.0
        self._errors_in_a_row = 0
        self._last_contact = self._opened = clock()
        self._lists = self._watches = self._events = 0
        self._failures: Counter[str] = Counter()

    def stats(self) -> ResourceStats:
        """Counts and staleness, for metrics."""
        return ResourceStats(
            resource=self.resource.name,
            is_listed=self.is_listed,
            objects=len(self._known),
            staleness=self._clock() - self._last_contact,
            lists=self._lists,
            watches=self._watches,
            events=self._events,
            failures=dict(self._failures),
        )

    @property
    def is_too_large(self) -> bool:
        """Whether there are more objects than ``max_objects``."""
        return len(self._known) > self._max_objects

    @property
    def is_warming_up(self) -> bool:
        """Whether the API server refuses what it allowed before, and only since a moment ago."""
        return self._clock() - self._refused_since < WARM_UP_SECONDS

    def server_is_back(self) -> None:
        """The API server answers again: what comes next is a first try."""
        self._back = self._clock()
        self._absence.reset()
        self._backoff.reset()

    def wait(self) -> float:
        """Seconds to wait before the next request; reading them resets them."""
        wait, self._wait = self._wait, 0.0
        return wait

    def request(self) -> Request:
        """The next request: a watch, or a page of a list."""
        if self._version:
            return self._watch_request()
        if not self._continue:
            self._seen = set()
            self._listing = next(self._listings)
            self._report_watch_lost()
        both = {"limit": str(self._limit), "continue": self._continue}
        parameters = {key: value for key, value in both.items() if value not in {"", "0"}}
        return Request(self.resource.path, parameters, self.resource.accept_list, is_watch=False)

    def page(self, body: bytes) -> Iterator[None]:
        """A page of the list arrived; KubeError when it cannot be decoded.

        The changes are made in steps of a few milliseconds, each as the iterator is advanced.
        """
        try:
            page = self.resource.codec.page(body)
        except ApiError as error:
            raise KubeError(str(error), reason="bad_page") from error
        if self._listing != self._announced:
            self._announced = self._listing
            self._sink.list_begins()
        yield
        for number, item in enumerate(page.items, 1):
            self._seen.add(item.uid)
            self._known.add(item.uid)
            self._sink.put(item, self._listing)
            if number % ITEMS_A_STEP == 0:
                yield
        self._check_size()
        # An object that cannot be decoded still exists.
        self._seen.update(page.unreadable)
        self._failures["undecodable"] += len(page.unreadable)
        self._last_contact = self._clock()
        self._errors_in_a_row = 0
        self._continue = page.next
        if not page.next:
            yield from self._complete(page.version)

    def opened(self) -> None:
        """The API server accepted the watch."""
        self._watches += 1
        self._opened = self._clock()
        self._absence.reset()
        self._refused_since = -inf
        if self.following.lost < inf:
            self.following = Following(since=self._opened, lost=inf)

    def line(self, line: bytes) -> None:
        """A line of the watch arrived; KubeError when the watch must end because of it."""
        try:
            event = self.resource.codec.line(line)
        except ApiError as error:
            raise KubeError(str(error), reason="bad_line") from error
        if isinstance(event, ApiStatus):
            raise KubeError(
                f"the API server ended the watch: {event.code} {event.message or event.reason}",
                reason=reason_of(event.code),
                status=event.code,
            )
        self._apply(event)
        self._version = event.version or self._version
        self._last_contact = self._clock()
        self._errors_in_a_row = 0
        self._backoff.reset()
        self._absence.reset()

    def ended(self) -> None:
        """The API server ended the watch normally, by its timeout."""
        if self._clock() - self._opened >= SETTLED_SECONDS:
            self._backoff.reset()
        else:
            self._wait = self._backoff.next()

    def failed(self, error: KznError) -> str:
        """The request failed: decide what to do next. Returns the reason counted."""
        reason = error.reason if isinstance(error, KubeError) else "credentials"
        self._failures[reason] += 1
        if reason == "expired" and self._continue:
            # The list takes longer than continue tokens are valid: larger pages, in the end one.
            self._limit = self._limit * 4 if self._limit < 8000 else 0
        if reason in {"bad_line", "server_error"}:
            self._errors_in_a_row += 1
        if reason in {"expired", "refused"} or self._errors_in_a_row >= RELIST_AFTER_ERRORS:
            self._version = self._continue = ""
            self._errors_in_a_row = 0
            self._report_watch_lost()
        if self.following.lost == inf:
            self.following = Following(since=inf, lost=self._clock())
        self._wait = self._wait_after(error, reason)
        return reason

    def _wait_after(self, error: KznError, reason: str) -> float:
        """Absence, overload and the rest have waits of their own; a refusal at first has none."""
        if not isinstance(error, KubeError):
            return self._backoff.next()
        if error.is_absence:
            return self._absence.next()
        if reason in {"forbidden", "unauthorized"}:
            was_allowed = self.is_listed or self._clock() - self._back < WARM_UP_SECONDS
            if was_allowed and self._refused_since == -inf:
                self._refused_since = self._clock()
            if self.is_warming_up:
                return self._rng.uniform(*WARM_UP_WAIT)
        return self._backoff.next() + min(error.retry_after, LONGEST_RETRY_AFTER)

    def _report_watch_lost(self) -> None:
        self._sink.watch_lost(self._last_contact if self._lists else -inf)

    def _watch_request(self) -> Request:
        parameters = {
            "watch": "1",
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self._rng.randint(*WATCH_SECONDS)),
        }
        return Request(self.resource.path, parameters, self.resource.accept_watch, is_watch=True)

    def _complete(self, version: str) -> Iterator[None]:
        if not version:
            raise KubeError("the list has no resourceVersion", reason="bad_page")
        yield
        for number, uid in enumerate(self._known - self._seen, 1):
            self._sink.drop(uid)
            if number % ITEMS_A_STEP == 0:
                yield
        self._known, self._seen = self._seen & self._known, set()
        self._version = version
        self._lists += 1
        self.is_listed = True

    def _apply(self, event: Event[F]) -> None:
        if event.type == "BOOKMARK":
            return
        self._events += 1
        if event.type == "DELETED":
            self._known.discard(event.uid)
            self._sink.drop(event.uid)
        elif event.type not in {"ADDED", "MODIFIED"}:
            self._failures["unknown_event"] += 1
        elif event.item is None:
            self._failures["undecodable"] += 1
        else:
            self._known.add(event.uid)
            self._sink.put(event.item, 0)
            self._check_size()

    def _check_size(self) -> None:
        if self.is_too_large:
            raise KubeError(f"more than {self._max_objects:.0f} objects", reason="too_many")
