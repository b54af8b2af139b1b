"""Decodes the rows of a buffer, and adds up those of one flow.

In: bytes of the map `rows` (bpf/src/flow.h: struct flow_row), keys and counts of the hash behind.
Out: keys (m,) of `FLOW_KEY` with counts (m, 2) of packets and bytes. Never: a call to the kernel.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.agent.maps.structs import ROW_SIZE, unpack_counts
from kzn.columns.arrays import I64, U16, U64
from kzn.columns.distinct_rows import distinct_rows
from kzn.columns.group_sums import sums
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
    found = words[words[:, 0] > _FINISHED]
    keys = np.zeros(len(found), FLOW_KEY)
    as_words = keys.view(np.uint64).reshape(-1, 5)
    ipv4 = (found[:, 1] >> np.uint64(16)) & np.uint64(0xFFFF) == _IPV4
    first = found[:, 2]
    as_words[:, 0] = np.where(ipv4, 0, first)
    as_words[:, 1] = np.where(ipv4, _MAPPED | first << _HALF, found[:, 3])
    as_words[:, 2] = np.where(ipv4, 0, found[:, 4])
    as_words[:, 3] = np.where(ipv4, _MAPPED | first >> _HALF << _HALF, found[:, 5])
    as_words[:, 4] = found[:, 0] >> _HALF | found[:, 1] >> _HALF << _HALF
    return Rows(
        keys,
        np.stack(unpack_counts(found[:, 6], found[:, 7]), axis=1),
        (found[:, 1] & np.uint64(0xFFFF)).astype(np.uint16),
    )


def merge(keys: npt.NDArray[Any], counts: U64) -> tuple[npt.NDArray[Any], U64]:
    """Each key of (n,) once, with the sums of its counts (n, 2)."""
    first, index = distinct_keys(keys)
    if len(first) == len(keys):
        return keys, counts
    total = np.stack([sums(index, counts[:, column], len(first)) for column in (0, 1)], axis=1)
    return keys[first], total


def distinct_keys(keys: npt.NDArray[Any]) -> tuple[I64, I64]:
    """The number of one row for each distinct key, and for each row the number of its key."""
    words = np.ascontiguousarray(keys).view(np.uint64)
    return distinct_rows(words.reshape(-1, FLOW_KEY.itemsize // 8))
