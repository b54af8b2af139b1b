"""Settled flows: flows with a final verdict and the owners of both ends, as history keeps them.

`SETTLED` are the columns of a flow, `End` is one end of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

SETTLED = np.dtype(
    [
        ("time", "<i8"),
        ("src", "<i4"),
        ("dst", "<i4"),
        ("port", "<u2"),
        ("protocol", "u1"),
        ("verdict", "u1"),
        ("initiator", "u1"),
        ("padding", "u1", 3),
        ("packets", "<u8"),
        ("bytes", "<u8"),
    ]
)
"""A sum of flows: ``time`` is the minute in which their intervals ended, in Unix seconds.

``src`` and ``dst`` are numbers of `End`, ``port`` is that of the end that was connected to, 0 if it
was not kept, ``verdict`` is a number in the server's table, ``initiator`` as in kzn.model.flows.
"""

CLASSES = ("same_zone", "cross_zone", "cross_region", "external", "unresolved")
"""The classes of settled flows; unresolved flows also have a reason."""


class End(NamedTuple):
    """One end of a flow; an empty string is "none" or "unknown".

    ``kind`` is Pod, Node, Static, Service, External, Unknown or Ambiguous. ``workload`` is the
    node's name for a node and the entry's name for a static entry; ``pod`` is of pods alone.
    ``address`` is text, empty if addresses of its kind are not kept. ``group`` is the team or
    product of its namespace or pod, empty where groups are not told.
    """

    kind: str
    namespace: str
    workload_kind: str
    workload: str
    pod: str
    node: str
    zone: str
    region: str
    address: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What the rows of one server have in common: ``cluster`` is a name or a uid, empty if unknown.

    ``provider_ids`` are spec.providerID by node.
    """

    cluster: str = ""
    provider_ids: Mapping[str, str] = field(default_factory=dict)


class Sum(NamedTuple):
    """Packets and bytes; Python numbers, so that no sum overflows."""

    packets: int = 0
    bytes: int = 0

    def plus(self, other: "Sum") -> "Sum":
        """The sum of both, column by column."""
        return Sum(self.packets + other.packets, self.bytes + other.bytes)

    def minus(self, other: "Sum") -> "Sum":
        """The difference, column by column."""
        return Sum(self.packets - other.packets, self.bytes - other.bytes)


ByClass = dict[str, Sum]
"""A sum for each class that has one."""


def added(*parts: Mapping[str, Sum]) -> ByClass:
    """The sums of all ``parts``, by class."""
    total: ByClass = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, Sum()).plus(amount)
    return total
