"""Replaces the input devices in flow keys by senders, where the source does not tell the sender.

In: keys of forwarded packets with their input devices (KZN_BY_DEVICE), and `Senders`. Out: the same
keys with the number of a sender, or without a device; so parts of a flow have one key again.
Never: a call to the kernel, except by the neighbours of `Senders`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.agent.maps.columns import distinct
from kzn.agent.maps.senders import DEVICES, Senders
from kzn.columns.arrays import U16
from kzn.model.flows import BY_DEVICE

MAX_SENDERS = DEVICES - 1
"""Senders that one batch can name; flows of further ones keep their source alone."""


def name_senders(keys: npt.NDArray[Any], senders: Senders) -> list[bytes]:
    """Change ``keys`` (n,); number k in them is address k - 1 of the result."""
    rows = np.flatnonzero(keys["flags"] & np.uint8(BY_DEVICE))
    devices = keys["tunnel"][rows]
    keys["flags"][rows] &= np.uint8(BY_DEVICE ^ 0xFF)
    keys["tunnel"][rows] = 0
    is_known = np.zeros(DEVICES, np.bool_)
    is_known[[*senders.pods, *senders.bridges]] = True
    chosen = is_known.take(devices)
    if not chosen.any():
        return []
    rows = rows[chosen]
    found, number = _numbers(keys["src"][rows], devices[chosen], senders)
    named = number > 0
    keys["tunnel"][rows[named]] = number[named]
    keys["flags"][rows[named]] |= np.uint8(BY_DEVICE)
    return found


def _numbers(sources: npt.NDArray[Any], devices: U16, senders: Senders) -> tuple[list[bytes], U16]:
    """The senders, and for each source and device the number of one, 0 for none."""
    addresses, source = distinct(np.ascontiguousarray(sources))
    pairs, pair = np.unique(source.astype(np.int64) * DEVICES + devices, return_inverse=True)
    texts: list[bytes] = addresses.view("V16").reshape(-1).tolist()
    numbers: dict[bytes, int] = {}
    by_pair = []
    for sender in senders.of((one % DEVICES, texts[one // DEVICES]) for one in pairs.tolist()):
        if sender is None or (sender not in numbers and len(numbers) == MAX_SENDERS):
            by_pair.append(0)
        else:
            by_pair.append(numbers.setdefault(sender, len(numbers) + 1))
    return list(numbers), np.array(by_pair, np.uint16).take(pair.reshape(-1))
