"""Tenancy: the life of an owner, from the first fact about it to the reuse of its endpoint's id.

In: what the index has decided of a pod or node (its endpoint, the addresses it has). Out: owners,
and their claims and releases in `Ownership`. Never: the choice what a fact means (index.py).
"""

from collections import deque
from collections.abc import Callable
from math import inf

from kzn.model.endpoint import Endpoint
from kzn.topology.facts import NodeFacts, PodFacts
from kzn.topology.ownership.intervals import Owner, Ownership
from kzn.topology.tables.endpoint_table import EndpointTable

CLOCK_MARGIN = 2.0
"""How far the clocks of nodes and server may be apart without costing a pod its first bytes."""
CHANGE_MARGIN = 30.0
"""How long before it was seen an address may have come to an owner that had others already."""


class Claims:
    """Owners over one table of endpoints and one set of addresses.

    An id ends with its owner, or when more is learned of the owner; it names its endpoint for
    ``recycle`` seconds more.
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

    def appoint(
        self, facts: PodFacts | NodeFacts, endpoint: Endpoint, listing: int, listed: float
    ) -> Owner:
        """A new owner without addresses; pods were last listed at ``listed``.

        Pods that came and went before a list are in no list. So a pod that is heard of after one
        may have its address from another of whom nobody heard: bytes of before are not its own.
        """
        began = self._began(facts)
        is_pod = isinstance(facts, PodFacts)
        is_deleting = isinstance(facts, PodFacts) and facts.is_deleting
        clear = min(listed, began + CHANGE_MARGIN) if is_pod else -inf
        owner = Owner(
            id=self._table.add(endpoint, began, clear),
            began=began,
            clear=clear,
            order=facts.version,
            listing=listing,
            rank=(not is_deleting, began),
        )
        self._ownership.enter(owner)
        return owner

    def describe(self, owner: Owner, endpoint: Endpoint) -> None:
        """The owner's endpoint is this; under a new id when it differs from what it was."""
        if self._table[owner.id] == endpoint:
            return
        self.retire(owner.id)
        self._ownership.renumber(owner, self._table.add(endpoint, owner.began, owner.clear))

    def describe_past(self, owner: Owner, endpoint: Endpoint) -> None:
        """The endpoint of an owner that has ended was this."""
        self._ownership.renumber(owner, self._table.add(endpoint, owner.began, owner.clear))
        self.retire(owner.id)

    def hold(self, owner: Owner, addresses: tuple[bytes, ...]) -> None:
        """The owner has these addresses and no others.

        Its first addresses count from its own beginning, later ones (a sandbox made anew after a
        reboot) from a little before now.
        """
        now = self._clock()
        begin = max(owner.began, now - CHANGE_MARGIN) if owner.addresses else owner.began
        for address in owner.addresses:
            if address not in addresses:
                self._ownership.release(owner, address, now)
        for address in addresses:
            if address not in owner.addresses:
                self._ownership.claim(owner, address, begin, now)
        owner.addresses = addresses

    def leaves(self, owner: Owner) -> None:
        """The owner's end was announced."""
        self._ownership.leaves(owner, self._clock())

    def record(self, owner: Owner, addresses: tuple[bytes, ...], end: float) -> None:
        """The owner had these addresses until ``end``; learned only afterwards."""
        for address in addresses:
            self._ownership.record(owner, address, owner.began, end)

    def end(self, owner: Owner, end: float) -> None:
        """The owner ended and has no address any more."""
        self._ownership.leave(owner, end)
        self.retire(owner.id)

    def retire(self, number: int) -> None:
        """An id names its endpoint for ``recycle`` seconds from now."""
        self._retired.append((self._clock() + self._recycle, number))

    def expire(self) -> None:
        """Forget history that is too old, and give ids free that nobody refers to any more."""
        now = self._clock()
        self._ownership.expire(now)
        while self._retired and self._retired[0][0] <= now:
            self._table.free(self._retired.popleft()[1])

    def end_of(self, pod: PodFacts) -> float:
        """When a finished pod lost its addresses: now at the latest."""
        now = self._clock()
        if pod.finished is None:
            return now
        return min(now, self._monotonic(pod.finished) + CLOCK_MARGIN)

    def _began(self, facts: PodFacts | NodeFacts) -> float:
        now = self._clock()
        started = now if facts.started is None else min(now, self._monotonic(facts.started))
        return started - CLOCK_MARGIN

    def _monotonic(self, epoch: float) -> float:
        return self._clock() - (self._wall() - epoch)
