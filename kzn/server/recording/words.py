"""Keys of settled flows as two words, for sums by key.

In: columns of numbers. Out: rows of SETTLED whose keys differ. Pure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import I32, I64, U8, U16, U32, U64
from kzn.columns.distinct_pairs import distinct_pairs
from kzn.columns.group_sums import sums
from kzn.model.settled import SETTLED

Rows = npt.NDArray[np.void]

_REST, _REST_BITS = ("port", "protocol", "verdict", "initiator"), (16, 8, 4, 2)
"""What is in the second word of a key, after 32 bits of the minute."""
_MINUTE = sum(_REST_BITS)
_IN_ROWS = (0, 16, 24, 32)
"""Where the same is in the third word of a row of SETTLED."""
_LOW = np.uint64(0xFFFFFFFF)
_OF_PORT = np.uint64(((1 << sum(_REST_BITS[:2])) - 1) << sum(_REST_BITS[2:]))
"""The bits of port and protocol in the second word."""


def rest_of(port: U16, protocol: U8, verdict: U8, initiator: U8) -> U32:
    """The second word of keys without the minute."""
    word = port.astype(np.uint32)
    for column, bits in zip((protocol, verdict, initiator), _REST_BITS[1:], strict=True):
        word <<= np.uint32(bits)
        word |= column
    return word


def words_of_ends(numbers: I64 | I32) -> tuple[U64, U64]:
    """What each number of an end is in the first word of keys, as the source and as destination."""
    src: U64 = numbers.astype(np.uint64)
    return src, src << np.uint64(32)


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """Rows as columns, each (n,): the key in two words, packets and bytes."""

    ends: U64
    rest: U64
    packets: U64
    bytes: U64

    @staticmethod
    def of(ends: U64, minute: I64 | int, rest: U32, packets: U64, sizes: U64) -> "Words":
        """``rest`` is that of `rest_of`; ``minute`` counts from 1970, one for all or (n,)."""
        word = rest.astype(np.uint64)
        word |= np.asarray(minute, np.int64).astype(np.uint64) << np.uint64(_MINUTE)
        return Words(ends, word, packets, sizes)

    @staticmethod
    def joined(parts: Sequence["Words"]) -> "Words":
        """The rows of all parts."""
        columns = ([getattr(part, name) for part in parts] for name in Words.__slots__)
        return Words(*map(np.concatenate, columns))

    def grouped(self) -> "Words":
        """Equal keys added up, in arbitrary order."""
        first, kinds = distinct_pairs(self.ends, self.rest)
        if len(first) == len(kinds):
            return self
        packets, sizes = (sums(kinds, one, len(first)) for one in (self.packets, self.bytes))
        return Words(self.ends.take(first), self.rest.take(first), packets, sizes)

    def largest(self, most: int) -> tuple["Words", "Words"]:
        """The ``most`` rows with most bytes, and the others, of which there is at least one."""
        at = len(self.ends) - most
        order = np.argpartition(self.bytes, at)
        return self._taken(order[at:]), self._taken(order[:at])

    def without_ports(self, ends: Callable[[I64], I32]) -> "Words":
        """The same without port and protocol, and with the numbers that ``ends`` gives both."""
        src, _ = words_of_ends(ends((self.ends & _LOW).view(np.int64)))
        _, dst = words_of_ends(ends((self.ends >> np.uint64(32)).view(np.int64)))
        return Words(src | dst, self.rest & ~_OF_PORT, self.packets, self.bytes)

    def _taken(self, rows: I64) -> "Words":
        return Words(*(getattr(self, name).take(rows) for name in Words.__slots__))

    def rows(self) -> Rows:
        """The same as SETTLED: made of words, since field by field it takes twice as long."""
        word, shift = np.zeros(len(self.rest), np.uint64), _MINUTE
        for bits, place in zip(_REST_BITS, _IN_ROWS, strict=True):
            shift -= bits
            part = self.rest >> np.uint64(shift)
            part &= np.uint64((1 << bits) - 1)
            part <<= np.uint64(place)
            word |= part
        times = (self.rest >> np.uint64(_MINUTE)) * np.uint64(60)
        columns = [times, self.ends, word, self.packets, self.bytes]
        return np.stack(columns, axis=1).astype("<u8", copy=False).view(SETTLED).reshape(-1)


def grouped(rows: Rows) -> Rows:
    """Rows with equal columns added up, in arbitrary order."""
    src, _ = words_of_ends(rows["src"])
    _, dst = words_of_ends(rows["dst"])
    rest = rest_of(*(rows[name] for name in _REST))
    words = Words.of(src | dst, rows["time"] // 60, rest, rows["packets"], rows["bytes"])
    return words.grouped().rows()
