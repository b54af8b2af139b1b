"""Decodes the rows of a buffer, and adds up those of one flow.

In: bytes of the map `rows` (bpf/src/flow.h: struct flow_row), keys and counts of the hash behind.
Out: keys (m,) of `FLOW_KEY` with counts (m, 2) of packets and bytes. Never: a call to the kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.agent.maps.structs import ROW_SIZE, unpack_counts
from kzn.columns.arrays import I64, U16, U64
from kzn.columns.distinct_rows import distinct_rows, group_rows
from kzn.model.flows import FLOW_KEY

ROW_WORDS = ROW_SIZE // 8
"""64-bit words of a row: 2 of identity, 4 of addresses, packed counts and their carry."""

_FINISHED = np.uint64(1)  # word 0 of a finished row is above
_IPV4 = 4
_HALF = np.uint64(32)
_MAPPED = np.uint64(0xFFFF0000)  # ::ffff:0:0/96, bytes 8 to 11


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Finished rows: ``keys`` (n,) of `FLOW_KEY`, ``counts`` (n, 2), and the CPU of each (n,)."""

    keys: npt.NDArray[Any]
    counts: U64
    cpu: U16


def decode(words: U64) -> Rows:
    """The finished rows of (places, 8) words."""
    found = words.take(np.flatnonzero(words[:, 0] > _FINISHED), axis=0)
    keys = np.empty(len(found), FLOW_KEY)
    as_words = keys.view(np.uint64).reshape(-1, 5)
    as_words[:, :4] = found[:, 2:6]
    as_words[:, 4] = found[:, 0] >> _HALF | found[:, 1] >> _HALF << _HALF
    ipv4 = (found[:, 1] >> np.uint64(16)) & np.uint64(0xFFFF) == _IPV4
    which = slice(None) if ipv4.all() else np.flatnonzero(ipv4)
    both = found[which, 2]
    as_words[which, 0] = as_words[which, 2] = 0
    as_words[which, 1] = _MAPPED | both << _HALF
    as_words[which, 3] = _MAPPED | both >> _HALF << _HALF
    return Rows(
        keys,
        np.stack(unpack_counts(found[:, 6], found[:, 7]), axis=1),
        (found[:, 1] & np.uint64(0xFFFF)).astype(np.uint16),
    )


def merge(keys: npt.NDArray[Any], counts: U64) -> tuple[npt.NDArray[Any], U64]:
    """Each key of (n,) once, with the sums of its counts (n, 2)."""
    words = _words(keys)
    order, starts = group_rows(words)
    if len(starts) == len(keys):
        return keys, counts
    merged = words.take(order.take(starts), axis=0).view(FLOW_KEY).reshape(-1)
    return merged, np.add.reduceat(counts.take(order, axis=0), starts, axis=0)


def join_keys(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """A copy of all keys; numpy copies records, unlike words, one field after the other."""
    return np.concatenate([_words(keys) for keys in parts]).view(FLOW_KEY).reshape(-1)


def distinct_keys(keys: npt.NDArray[Any]) -> tuple[I64, I64]:
    """The number of one row for each distinct key, and for each row the number of its key."""
    return distinct_rows(_words(keys))


def _words(keys: npt.NDArray[Any]) -> U64:
    return np.ascontiguousarray(keys).view(np.uint64).reshape(-1, FLOW_KEY.itemsize // 8)
