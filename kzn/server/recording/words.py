"""Keys of settled flows as two words, for sums by key at the speed of a sort.

In: columns of numbers. Out: rows of SETTLED whose keys differ. Pure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import I32, I64, U8, U16, U64
from kzn.columns.sort_order import number_bits, numbers_of, sort_with_numbers
from kzn.model.settled import SETTLED

Rows = npt.NDArray[np.void]

_REST, _REST_BITS = ("port", "protocol", "verdict", "initiator"), (16, 8, 4, 2)
"""What is in the second word of a key, after 32 bits of the minute."""
_LOW = np.uint64(0xFFFFFFFF)
_OF_PORT = np.uint64(((1 << sum(_REST_BITS[:2])) - 1) << sum(_REST_BITS[2:]))
"""The bits of port and protocol in the second word."""
_MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """Rows as columns, each (n,): the key in two words, packets and bytes."""

    ends: U64
    rest: U64
    packets: U64
    bytes: U64

    @staticmethod
    def of(
        src: I64, dst: I64, minute: I64 | int, rest: Sequence[I64 | U16 | U8], counts: Sequence[U64]
    ) -> "Words":
        """``rest`` are port, protocol, verdict and initiator; ``minute`` counts from 1970."""
        ends = (src.astype(np.uint64) << np.uint64(32)) | dst.astype(np.uint64)
        word = np.zeros(len(src), np.uint64)
        word |= np.asarray(minute, np.int64).astype(np.uint64) & _LOW
        for column, bits in zip(rest, _REST_BITS, strict=True):
            word <<= np.uint64(bits)
            word |= column.astype(np.uint64)
        return Words(ends, word, *counts)

    @staticmethod
    def joined(parts: Sequence["Words"]) -> "Words":
        """The rows of all parts."""
        columns = ([getattr(part, name) for part in parts] for name in Words.__slots__)
        return Words(*map(np.concatenate, columns))

    def grouped(self) -> "Words":
        """Equal keys added up. The order is arbitrary, and a key may be left twice."""
        if not len(self.ends):
            return self
        # Equal keys are neighbours when sorted by a hash of both words; keys of equal hashes may
        # lie mixed, and then one of them is left twice, which changes no sum.
        mixed = self.ends * _MIX[0] ^ (self.rest + np.uint64(1)) * _MIX[1]
        mixed >>= np.uint64(number_bits(len(mixed)))
        order = numbers_of(sort_with_numbers(mixed), len(mixed))
        ends, rest = self.ends.take(order), self.rest.take(order)
        differs = (ends[1:] != ends[:-1]) | (rest[1:] != rest[:-1])
        first = np.flatnonzero(np.append(True, differs))
        packets, sizes = (
            np.add.reduceat(column.take(order), first) for column in (self.packets, self.bytes)
        )
        return Words(ends.take(first), rest.take(first), packets, sizes)

    def largest(self, most: int) -> tuple["Words", "Words"]:
        """The ``most`` rows with most bytes, and the others, of which there is at least one."""
        at = len(self.ends) - most
        order = np.argpartition(self.bytes, at)
        return self._taken(order[at:]), self._taken(order[:at])

    def without_ports(self, ends: Callable[[I64], I32]) -> "Words":
        """The same without port and protocol, and with the numbers that ``ends`` gives both."""
        src, dst = (
            ends((self.ends >> shift & _LOW).view(np.int64)).astype(np.uint64)
            for shift in (np.uint64(32), np.uint64(0))
        )
        return Words(src << np.uint64(32) | dst, self.rest & ~_OF_PORT, self.packets, self.bytes)

    def _taken(self, rows: I64) -> "Words":
        return Words(*(getattr(self, name).take(rows) for name in Words.__slots__))

    def rows(self) -> Rows:
        """The same as SETTLED."""
        found = np.zeros(len(self.ends), SETTLED)
        found["src"] = self.ends >> np.uint64(32)
        found["dst"] = self.ends & np.uint64(0xFFFFFFFF)
        word = self.rest
        for name, bits in reversed([*zip(_REST, _REST_BITS, strict=True)]):
            found[name] = word & np.uint64((1 << bits) - 1)
            word = word >> np.uint64(bits)
        found["time"] = word.astype(np.int64) * 60
        found["packets"], found["bytes"] = self.packets, self.bytes
        return found


def grouped(rows: Rows) -> Rows:
    """Rows with equal columns added up. Their order is arbitrary, and a key may be left twice."""
    words = Words.of(
        rows["src"],
        rows["dst"],
        rows["time"] // 60,
        [rows[name] for name in _REST],
        [rows["packets"], rows["bytes"]],
    )
    return words.grouped().rows()
