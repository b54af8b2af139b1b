"""Keys of settled flows as two words, for sums by key at the speed of a sort.

In: columns of numbers. Out: rows of SETTLED whose keys differ. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import I64, U8, U16, U64
from kzn.model.settled import SETTLED

Rows = npt.NDArray[np.void]

_REST, _REST_BITS = ("port", "protocol", "verdict", "initiator"), (16, 8, 4, 2)
"""What is in the second word of a key, after 32 bits of the minute."""
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
        word |= np.asarray(minute, np.int64).astype(np.uint64) & np.uint64(0xFFFFFFFF)
        for column, bits in zip(rest, _REST_BITS, strict=True):
            word = (word << np.uint64(bits)) | column.astype(np.uint64)
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
        order = np.argsort(self.ends * _MIX[0] ^ (self.rest + np.uint64(1)) * _MIX[1])
        ends, rest = self.ends.take(order), self.rest.take(order)
        differs = (ends[1:] != ends[:-1]) | (rest[1:] != rest[:-1])
        first = np.flatnonzero(np.append(True, differs))
        packets, sizes = (
            np.add.reduceat(column.take(order), first) for column in (self.packets, self.bytes)
        )
        return Words(ends.take(first), rest.take(first), packets, sizes)

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
