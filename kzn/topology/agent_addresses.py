"""Addresses that agents told of their own nodes, for what no other source gives an owner.

In: all addresses of a node, each time its agent tells them; the nodes' pod CIDRs. Out: the node of
an address. Never: an answer that takes precedence over a pod, a node, a Service or a network of the
topology (index.py asks here last); a guess between two nodes.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import F64, I32, I64, OBJECTS, U8
from kzn.model.endpoint import EXTERNAL
from kzn.model.ip import MAPPED_PREFIX
from kzn.topology.facts import CidrNetwork
from kzn.topology.tables.address_table import UNOWNED, AddressTable
from kzn.topology.tables.prefix_table import Prefix, PrefixTable, prefix_of

MAX_TOLD = 500_000
"""Most addresses of all nodes (about 200 bytes each): 100 for each of 5,000 nodes."""
MAX_PUBLIC = 64
"""Most globally routable addresses of a node: each stops being external for the whole cluster."""
MAX_ENDED = 100_000
"""Most addresses whose end is remembered for late batches."""
MAX_WAITING = 100
"""Most nodes that are not in the topology whose addresses are kept, for when they are."""

_SEVERAL = -6
"""The number of an address that several nodes have, or that a node had."""
_IANA = PrefixTable()


V = TypeVar("V", float, str)


def of_rows(value: V | npt.NDArray[Any], rows: I64) -> V | npt.NDArray[Any]:
    """What is of all rows, or the part of ``rows`` of what is of each."""
    return value.take(rows) if isinstance(value, np.ndarray) else value


class AgentAddresses:
    """Addresses (16 bytes) to node numbers; `name` has the node's name.

    An address that several nodes tell (a virtual address, a bridge that has the same one
    everywhere) is the reporting node's if it is one of them, else no node's. One within another
    node's pod CIDR is not taken. What a node no longer has stays its own for batches that were
    opened before, for ``history`` seconds.
    """

    def __init__(self, history: float, max_told: int = MAX_TOLD) -> None:
        self.ignored: Counter[str] = Counter()
        """Told addresses that were not taken, by reason."""
        self._history = history
        self._max_told = max_told
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._told: dict[int, frozenset[bytes]] = {}
        self._count = 0
        self._table = AddressTable()
        self._several: dict[bytes, dict[int, float]] = {}  # ends by node number; inf: has it
        self._ended: deque[tuple[float, bytes, int]] = deque()
        self._waiting: OrderedDict[str, tuple[bytes, ...]] = OrderedDict()
        self._cidrs: dict[str, tuple[str, tuple[CidrNetwork, ...]]] = {}
        self._nodes_of: dict[Prefix, list[int]] = {}
        self._ranges: PrefixTable | None = None

    def __len__(self) -> int:
        """How many addresses agents have told, each counted for each node."""
        return self._count

    @property
    def has_any(self) -> bool:
        """Whether `find` can find anything."""
        return len(self._table) > 0

    def name(self, number: int) -> str:
        """The name of a node."""
        return self._names[number]

    def tell(
        self,
        node: str,
        addresses: Sequence[bytes],
        is_service: Callable[[bytes], bool],
        now: float,
    ) -> tuple[bytes, ...]:
        """``node`` has these addresses and no others. Returns its globally routable ones if new."""
        number = self._number(node)
        had = self._told.get(number, frozenset())
        usable, public = self._usable(addresses, is_service)
        left = max(0, self._max_told - self._count + len(had))
        has = frozenset(usable[:left])
        self.ignored["limit"] += max(0, len(usable) - left)
        for address in had - has:
            self._end(number, address, now)
        for address in has - had:
            self._begin(number, address)
        self._count += len(has) - len(had)
        if has:
            self._told[number] = has
        else:
            self._told.pop(number, None)
        self.expire(now)
        return tuple(address for address in public if address in has - had)

    def wait(self, node: str, addresses: Sequence[bytes]) -> None:
        """Keep the addresses of a node that is not in the topology."""
        self._waiting[node] = tuple(addresses)
        self._waiting.move_to_end(node)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)

    def take_waiting(self, node: str) -> tuple[bytes, ...]:
        """Remove and return what was kept of ``node``."""
        return self._waiting.pop(node, ())

    def end_node(self, node: str, now: float) -> None:
        """The node was deleted. A node of that name has its addresses until its agent tells."""
        number = self._numbers.get(node)
        had = self._told.pop(number, None) if number is not None else None
        if number is None or had is None:
            return
        for address in had:
            self._end(number, address, now)
        self._count -= len(had)
        self.wait(node, sorted(had))

    def put_pod_cidrs(self, uid: str, node: str, cidrs: tuple[CidrNetwork, ...]) -> None:
        """The pod CIDRs of the node with this uid; none once it is deleted."""
        before, had = self._cidrs.get(uid, (node, ()))
        if (before, had) == (node, cidrs):
            return
        if cidrs:
            self._cidrs[uid] = node, cidrs
        else:
            del self._cidrs[uid]
        for prefix in map(prefix_of, had):
            self._nodes_of[prefix].remove(self._number(before))
            self._set_range(prefix)
        for prefix in map(prefix_of, cidrs):
            self._nodes_of.setdefault(prefix, []).append(self._number(node))
            self._set_range(prefix)

    def find(self, rows: U8, opened: float | F64, reporting: str | OBJECTS = "") -> I32:
        """Node numbers of ``rows`` (n, 16) for a batch opened then, UNOWNED where no node is.

        Batches may be one for all rows, or one for each: (n,).
        """
        found = self._table.find(rows)
        several = np.flatnonzero(found == _SEVERAL).tolist()
        if several:
            times = np.broadcast_to(opened, len(rows))
            nodes = np.broadcast_to(np.asarray(reporting, object), len(rows))
            for row in several:
                own = self._numbers.get(nodes[row], UNOWNED)
                found[row] = self._one_of(rows[row].tobytes(), float(times[row]), own)
        known = np.flatnonzero(found >= 0)
        if len(known):
            if self._ranges is None:
                self._ranges = PrefixTable((cidr, of[-1]) for cidr, of in self._nodes_of.items())
            ranges = self._ranges.lookup(rows.take(known, axis=0))
            found[known[(ranges >= 0) & (ranges != found.take(known))]] = UNOWNED
        return found

    def fill_in(
        self,
        ids: I32,
        left: I64,
        rows: U8,
        opened: float | F64,
        reporting: str | OBJECTS,
        endpoint_of: Callable[[str], int],
    ) -> None:
        """Enter the endpoints of nodes, by name, into ``ids`` for the rows ``left``.

        Times and reporting nodes are of all rows, or of each of them.
        """
        numbers = self.find(
            rows.take(left, axis=0), of_rows(opened, left), of_rows(reporting, left)
        )
        for number in set(numbers[numbers >= 0].tolist()):
            endpoint = endpoint_of(self.name(number))
            if endpoint >= 0:
                ids[left[numbers == number]] = endpoint

    def intervals(self, address: bytes) -> list[tuple[int, float]]:
        """The nodes that have or had ``address``, each with the end (inf: it has it)."""
        number = self._table.get(address)
        if number >= 0:
            return [(number, inf)]
        return sorted(self._several.get(address, {}).items(), key=lambda item: item[1])

    def expire(self, now: float) -> None:
        """Forget what ended more than ``history`` ago."""
        horizon = now - self._history
        while self._ended and (self._ended[0][0] < horizon or len(self._ended) > MAX_ENDED):
            end, address, number = self._ended.popleft()
            nodes = self._several.get(address)
            if nodes is None:
                continue
            if nodes.get(number) == end:  # else it has the address again
                del nodes[number]
            if not nodes:
                del self._several[address]
                self._table.remove(address)
            elif len(nodes) == 1 and inf in nodes.values():
                del self._several[address]
                self._table.put(address, *nodes)

    def _usable(
        self, addresses: Sequence[bytes], is_service: Callable[[bytes], bool]
    ) -> tuple[list[bytes], list[bytes]]:
        """Those that can be a node's own, and the globally routable ones among them."""
        found: list[bytes] = []
        public: list[bytes] = []
        distinct = [a for a in dict.fromkeys(addresses) if self._is_accepted(a, is_service)]
        rows = np.frombuffer(b"".join(distinct), np.uint8).reshape(-1, 16)
        is_public = (_IANA.lookup(rows) == EXTERNAL).tolist()
        for address, routable in zip(distinct, is_public, strict=True):
            if routable and len(public) == MAX_PUBLIC:
                self.ignored["public_limit"] += 1
                continue
            if routable:
                public.append(address)
            found.append(address)
        return found, public

    def _is_accepted(self, address: bytes, is_service: Callable[[bytes], bool]) -> bool:
        reason = "" if _is_host(address) else "not_unicast"
        if not reason and is_service(address):
            reason = "service"
        self.ignored[reason] += bool(reason)
        return not reason

    def _number(self, node: str) -> int:
        number = self._numbers.setdefault(node, len(self._names))
        if number == len(self._names):
            self._names.append(node)
        return number

    def _begin(self, number: int, address: bytes) -> None:
        held = self._table.get(address)
        if held == UNOWNED:
            self._table.put(address, number)
            return
        if held >= 0:
            self._several[address] = {held: inf}
            self._table.put(address, _SEVERAL)
        self._several[address][number] = inf

    def _end(self, number: int, address: bytes, now: float) -> None:
        if self._table.get(address) == number:
            self._table.put(address, _SEVERAL)
            self._several[address] = {}
        self._several[address][number] = now
        self._ended.append((now, address, number))

    def _one_of(self, address: bytes, opened: float, own: int) -> int:
        nodes = [number for number, end in self._several[address].items() if end >= opened]
        if own in nodes:
            return own
        return nodes[0] if len(nodes) == 1 else UNOWNED

    def _set_range(self, prefix: Prefix) -> None:
        """Note the node that came last of those with this pod CIDR."""
        nodes = self._nodes_of[prefix]
        if not nodes:
            del self._nodes_of[prefix]
        if self._ranges is None:
            return
        if nodes:
            self._ranges.put(prefix, nodes[-1])
        else:
            self._ranges.remove(prefix)


def _is_host(address: bytes) -> bool:
    """Whether a host can have the address for others: unicast, not loopback, not link-local."""
    if address.startswith(MAPPED_PREFIX):
        return 0 < address[12] < 224 and address[12] != 127 and address[12:14] != b"\xa9\xfe"
    is_link_local = address[0] == 0xFE and address[1] & 0xC0 == 0x80
    return any(address[:12]) and address[0] != 0xFF and not is_link_local
