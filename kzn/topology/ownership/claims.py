"""Claims: one owner (pod or node) from its first facts to the reuse of its endpoint id.

In: what the index decided about a pod or node (its endpoint, its addresses). Out: owners, and
their claims and releases in `Ownership`. Never: the interpretation of facts (index.py).
"""

from collections import deque
from collections.abc import Callable
from math import inf

from kzn.model.endpoint import Endpoint
from kzn.topology.facts import CLOCK_MARGIN, NodeFacts, PodFacts
from kzn.topology.ownership.intervals import Owner, Ownership
from kzn.topology.tables.endpoint_table import EndpointTable

CHANGE_MARGIN = 30.0
"""An owner may get a further address up to this many seconds before the server sees it."""


class Claims:
    """Creates and ends owners in one endpoint table and one `Ownership`.

    An endpoint id is retired when its owner ends or its facts change; it stays readable for
    ``recycle`` seconds.
    """

    def __init__(
        self,
        table: EndpointTable,
        ownership: Ownership,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        recycle: float,
    ) -> None:
        self._table = table
        self._ownership = ownership
        self._clock = clock
        self._wall = wall
        self._recycle = recycle
        self._retired: deque[tuple[float, int]] = deque()

    def new_owner(
        self, facts: PodFacts | NodeFacts, endpoint: Endpoint, listing: int, listed: float
    ) -> Owner:
        """A new owner without addresses; pods were last listed at ``listed``.

        A list omits pods that were created and deleted before it. One of them may have had this
        pod's address, so traffic before the list is not attributed to this pod.
        """
        valid_from = self._valid_from(facts)
        is_pod = isinstance(facts, PodFacts)
        is_deleting = isinstance(facts, PodFacts) and facts.is_deleting
        exclusive_since = min(listed, valid_from + CHANGE_MARGIN) if is_pod else -inf
        owner = Owner(
            id=self._table.add(endpoint, valid_from, exclusive_since),
            valid_from=valid_from,
            is_pod=is_pod,
            exclusive_since=exclusive_since,
            order=facts.version,
            listing=listing,
            rank=(not is_deleting, valid_from),
        )
        self._ownership.add_owner(owner)
        return owner

    def describe(self, owner: Owner, endpoint: Endpoint) -> None:
        """Set the owner's endpoint; a changed endpoint gets a new id."""
        if self._table[owner.id] == endpoint:
            return
        self.retire(owner.id)
        self._ownership.renumber(
            owner, self._table.add(endpoint, owner.valid_from, owner.exclusive_since)
        )

    def describe_past(self, owner: Owner, endpoint: Endpoint) -> None:
        """Set the endpoint of an owner that has ended."""
        self._ownership.renumber(
            owner, self._table.add(endpoint, owner.valid_from, owner.exclusive_since)
        )
        self.retire(owner.id)

    def set_addresses(self, owner: Owner, addresses: tuple[bytes, ...]) -> None:
        """Replace the owner's addresses.

        Its first addresses are valid from the owner's start, later ones (a pod sandbox recreated
        after a reboot) from CHANGE_MARGIN before now.
        """
        now = self._clock()
        begin = max(owner.valid_from, now - CHANGE_MARGIN) if owner.addresses else owner.valid_from
        for address in owner.addresses:
            if address not in addresses:
                self._ownership.release(owner, address, now)
        for address in addresses:
            if address not in owner.addresses:
                self._ownership.claim(owner, address, begin, now)
        owner.addresses = addresses

    def deletion_announced(self, owner: Owner) -> None:
        """The owner has a deletionTimestamp."""
        self._ownership.deletion_announced(owner, self._clock())

    def record(self, owner: Owner, addresses: tuple[bytes, ...], end: float) -> None:
        """Add past ownership: the owner had these addresses until ``end``."""
        for address in addresses:
            self._ownership.record(owner, address, owner.valid_from, end)

    def end(self, owner: Owner, end: float) -> None:
        """End the owner and release its addresses."""
        self._ownership.end_owner(owner, end)
        self.retire(owner.id)

    def retire(self, number: int) -> None:
        """Free an id ``recycle`` seconds from now."""
        self._retired.append((self._clock() + self._recycle, number))

    def expire(self) -> None:
        """Drop history that is too old, and free the ids that were retired ``recycle`` ago."""
        now = self._clock()
        self._ownership.expire(now)
        while self._retired and self._retired[0][0] <= now:
            self._table.free(self._retired.popleft()[1])

    def end_of(self, pod: PodFacts) -> float:
        """When a finished pod lost its addresses (monotonic seconds), at most now."""
        now = self._clock()
        if pod.finished is None:
            return now
        return min(now, self._monotonic(pod.finished) + CLOCK_MARGIN)

    def _valid_from(self, facts: PodFacts | NodeFacts) -> float:
        now = self._clock()
        started = now if facts.started is None else self._monotonic(facts.started)
        # Up to the margin ahead of our clock a start is plausible; beyond that it says nothing.
        return (started if started <= now + CLOCK_MARGIN else now) - CLOCK_MARGIN

    def _monotonic(self, epoch: float) -> float:
        return self._clock() - (self._wall() - epoch)
