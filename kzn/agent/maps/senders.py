"""Which pod sent a packet whose source address does not tell it, by the device that it came in by.

In: addresses behind the devices of pods (devices/table.py). Out: an address of the sender, for a
device and a source. Never: numpy (main.py), or a call to the kernel but by ``neighbours``.

A source is not the pod's own where it was translated before the hook (source NAT before the egress
of an uplink, answers that a Service translates back), where the pod answers as a load balancer
(direct return), and where it forwards for others.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

DEVICES = 1 << 16
"""Devices that the 16 bits of a key tell apart."""
SHARED = -1
MAX_GONE = 4096
"""Devices that are gone and still known."""
_MAPPED = bytes(10) + b"\xff\xff"
_LINK_LOCAL4 = _MAPPED + b"\xa9\xfe"

Neighbours = Callable[[int], Mapping[bytes, bytes]]
"""Link-layer addresses by IP address (16 bytes) of the neighbours at a device, by its index."""


def _no_neighbours(_: int) -> Mapping[bytes, bytes]:
    return {}


@dataclass(frozen=True, slots=True)
class Senders:
    """What lies behind the devices of this node.

    ``pods`` are the addresses that routes have for the network namespace behind a device, the most
    likely one of the pod itself first (`ranked`), by the device's number (`number`). ``bridges``
    are indices of bridges of pods, by number: which of their pods has an address, ``neighbours``
    tell. A number that two devices have, of any kind, tells no pod. ``devices`` are the indices of
    all devices that are there, by number, `SHARED` if two have it; ``indices`` those of ``pods``.
    """

    pods: Mapping[int, tuple[bytes, ...]] = field(default_factory=dict)
    bridges: Mapping[int, int] = field(default_factory=dict)
    neighbours: Neighbours = _no_neighbours
    devices: Mapping[int, int] = field(default_factory=dict)
    indices: Mapping[int, int] = field(default_factory=dict)

    def after(self, before: "Senders") -> "Senders":
        """With what was behind devices that are gone: what their pods sent last is still to come.

        The server knows who had an address in the interval of a batch.
        """
        gone = [
            at
            for at in before.pods
            if at not in self.pods
            and at not in self.bridges
            # Another device has the number now: what comes in by it is not that pod's.
            and self.devices.get(at, before.index(at)) == before.index(at)
        ][-MAX_GONE:]
        return replace(
            self,
            pods={at: before.pods[at] for at in gone} | dict(self.pods),
            indices={at: before.index(at) for at in gone} | dict(self.indices),
        )

    def index(self, at: int) -> int:
        """The index of the pod's device with the number ``at``."""
        return self.indices.get(at, at)

    def of(self, pairs: Iterable[tuple[int, bytes]]) -> list[bytes | None]:
        """For each pair of a device's number and a source: the sender, None if it is the source."""
        behind = {device: self._behind_bridge(index) for device, index in self.bridges.items()}
        return [
            sender_of(source, self.pods.get(device) or behind.get(device, {}).get(source, ()))
            for device, source in pairs
        ]

    def _behind_bridge(self, index: int) -> dict[bytes, tuple[bytes, ...]]:
        """For each address of a neighbour at a bridge, all that the same neighbour has."""
        by_station: dict[bytes, list[bytes]] = {}
        for address, station in self.neighbours(index).items():
            by_station.setdefault(station, []).append(address)
        groups = ranked(by_station.values())
        return {address: group for group in groups for address in group}


def number(index: int) -> int:
    """The number of a device in keys."""
    return index % DEVICES


def sender_of(source: bytes, group: tuple[bytes, ...]) -> bytes | None:
    """Another address of ``group`` that the sender may have; None where there is none to tell.

    Of the source's family if the group has one. The server keeps a source that is a pod's own. With
    two likely ones there is more than a pod behind the device.
    """
    family = [address for address in group if _is_ipv4(address) == _is_ipv4(source)]
    others = [address for address in family or group if address != source]
    likely = [address for address in others if _range(address) == _range(others[0])]
    return likely[0] if len(likely) == 1 else None


def ranked(groups: Iterable[Collection[bytes]]) -> list[tuple[bytes, ...]]:
    """Each group, the most likely address of the pod itself first.

    Pods of a node have addresses of the same range; those of load balancers, which a pod may have
    too, are of another. What several groups have, or what is link-local, tells no pod.
    """
    found = [{address for address in group if not _is_link_local(address)} for group in groups]
    holders = Counter(address for group in found for address in group)
    neighbours = Counter(_range(address) for group in found for address in group)
    return [
        tuple(
            sorted(
                (address for address in group if holders[address] == 1),
                key=lambda address: (-neighbours[_range(address)], address),
            )
        )
        for group in found
    ]


def _is_ipv4(address: bytes) -> bool:
    return address.startswith(_MAPPED)


def _is_link_local(address: bytes) -> bool:
    return address.startswith(_LINK_LOCAL4) or (address[0] == 0xFE and address[1] & 0xC0 == 0x80)


def _range(address: bytes) -> bytes:
    """A /24 of IPv4, a /64 of IPv6."""
    return address[:15] if _is_ipv4(address) else address[:8]
