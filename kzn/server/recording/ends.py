"""Numbers of ends: of addresses with their owners, thousands at once, and of owners alone.

In: addresses, and the numbers of their owners. Out: numbers of ends, and the ends by number. Pure;
used by one thread. Never: a Python object for an address that has its number already.
"""

import numpy as np

from kzn.columns.arrays import BOOL, I64, U8, U64
from kzn.columns.hash_table import REMOVED, HashTable
from kzn.model import ip
from kzn.model.endpoint import (
    AMBIGUOUS,
    EXTERNAL,
    NODE,
    POD,
    UNKNOWN,
    UNSETTLED,
    Endpoint,
)
from kzn.model.settled import End
from kzn.server.config import ExternalAddresses

MAX_ENDS = 400_000
"""Most ends with a number, and most addresses that are found without a step in Python."""
_KINDS = {EXTERNAL: "External", UNKNOWN: "Unknown", AMBIGUOUS: "Ambiguous", UNSETTLED: "Unknown"}
_IPV4_CUT = np.frombuffer(b"\xff" * 15 + b"\x00", np.uint8).tobytes()
_IPV6_CUT = b"\xff" * 6 + b"\x00" * 10
_SEEDS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_MULTIPLIERS = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)


class Ends:
    """Ends by number. ``external`` is how addresses of external ends are kept."""

    def __init__(self, external: ExternalAddresses) -> None:
        self._external = external
        self.list: list[End] = []
        self._numbers: dict[End, int] = {}
        self._owners: list[Endpoint | int] = []
        self._owner_numbers: dict[Endpoint | int, int] = {}
        self._table = _table()
        self._known = 0

    def numbered(self, end: End) -> int:
        """The number of an end."""
        number = self._numbers.get(end)
        if number is None:
            number = self._numbers[end] = len(self.list)
            self.list.append(end)
        return number

    def of_owner(self, owner: Endpoint | int) -> int:
        """The number of the end of an owner, without detail."""
        return self.numbered(end_of(owner, "")._replace(pod="", node=""))

    def owner_number(self, owner: Endpoint | int) -> int:
        """The number of an owner, for `of_addresses`; equal owners have the same."""
        number = self._owner_numbers.setdefault(owner, len(self._owners))
        if number == len(self._owners):
            self._owners.append(owner)
        return number

    def of_addresses(self, addresses: U8, owners: I64, is_external: BOOL) -> I64:
        """The number of the end of each of ``addresses`` (n, 16) with the owner of that number.

        Of those where ``is_external`` the address is kept as told.
        """
        keys = np.empty((len(addresses), 3), np.int64)
        keys[:, :2] = np.ascontiguousarray(addresses).view(np.int64)
        keys[:, 2] = owners << 1 | is_external
        _, found = self._table.find(keys)
        missing = np.flatnonzero(found <= REMOVED)
        if len(missing):
            found[missing] = self._new(keys.take(missing, axis=0))
        return found

    def is_full(self) -> bool:
        """Whether `forget_addresses` should be called."""
        return max(self._known, len(self._owners)) > MAX_ENDS

    def forget_addresses(self) -> None:
        """Forget addresses and owners; ends keep their numbers, owners do not."""
        self._owners, self._owner_numbers = [], {}
        self._table, self._known = _table(), 0

    def begin_anew(self) -> None:
        """Forget all of it; a list that was handed out does not change."""
        self.list, self._numbers = [], {}
        self.forget_addresses()

    def _new(self, keys: I64) -> list[int]:
        """The number of each of ``keys`` (n, 3), none of which is in the table."""
        numbers: dict[bytes, int] = {}
        found: list[int] = []
        for row, owner in zip(map(bytes, keys), keys[:, 2].tolist(), strict=True):
            number = numbers.get(row)
            if number is None:
                external = self._external if owner & 1 else "full"
                end = end_of(self._owners[owner >> 1], _kept(row[:16], external))
                number = numbers[row] = self.numbered(end)
            found.append(number)
        self._table.insert(
            np.frombuffer(b"".join(numbers), np.int64).reshape(-1, 3),
            np.fromiter(numbers.values(), np.int64),
        )
        self._known += len(numbers)
        return found


def end_of(owner: Endpoint | int, address: str) -> End:
    """An end of a flow by the owner of its address."""
    if isinstance(owner, int):
        return End(_KINDS[owner], "", "", "", "", "", "", "", address)
    is_pod = owner.kind == POD
    return End(
        kind=owner.kind,
        namespace=owner.namespace,
        workload_kind=owner.workload_kind,
        workload=owner.name if owner.kind == NODE else owner.workload or owner.name,
        pod=owner.name if is_pod else "",
        node=owner.node,
        zone=owner.zone,
        region=owner.region,
        address=address,
        group=owner.group,
    )


def _kept(address: bytes, external: ExternalAddresses) -> str:
    if external == "none":
        return ""
    if external == "/24":
        mask = _IPV4_CUT if address[:12] == ip.MAPPED_PREFIX else _IPV6_CUT
        address = bytes(a & b for a, b in zip(address, mask, strict=True))
    return ip.text(address)


def _table() -> HashTable:
    return HashTable(3, 4, _mix)


def _mix(keys: I64) -> U64:
    words = keys.view(np.uint64)
    mixed: U64 = words[:, 0] * _SEEDS[0] ^ words[:, 1] ^ words[:, 2] * _SEEDS[1]
    for multiplier in _MULTIPLIERS:  # as in kzn.topology.tables.address_table
        mixed = (mixed ^ (mixed >> _SHIFT)) * multiplier
    return mixed
