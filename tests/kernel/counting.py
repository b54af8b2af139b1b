"""Helpers of the kernel tests: a probe attached to a node of the lab, and what it counted."""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from kzn.agent.devices.netlink import read_neighbours
from kzn.agent.devices.table import Device, read_devices
from kzn.agent.maps import buffers
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.senders import Senders
from kzn.agent.maps.spool import Spool
from kzn.agent.pins.install import unpinned
from kzn.errors import UnsupportedError
from kzn.lab import namespaces
from kzn.lab.lab import Lab
from kzn.lab.plan import Node
from kzn.lab.witness import WireKey
from kzn.libbpf.testrun import run_netfilter
from kzn.model import ip
from kzn.model.batch import Batch
from kzn.model.flows import NO_VIA
from kzn.model.totals import Counts
from kzn.probes import support
from kzn.probes.attach import MAPS, load
from kzn.probes.declaration import Probe
from kzn.probes.postrouting import PROBE
from kzn.probes.settings import Settings

NF_ACCEPT = 1
PREFIX = os.environ.get("KZN_LAB_PREFIX", "kzntest")
"""Prefix of the network namespaces that these tests create."""


@dataclass(frozen=True, slots=True)
class Row:
    """One flow in readable form."""

    src: str
    dst: str
    protocol: int
    src_port: int
    dst_port: int
    flags: int
    counts: Counts
    via: str = ""
    """The outer destination, if a tunnel of the node carries the flow."""

    @property
    def key(self) -> WireKey:
        """The address pair and protocol, as the witness counts them."""
        return WireKey(self.src, self.dst, self.protocol)


@dataclass(slots=True)
class Counted:
    """The sum of the batches of one node."""

    spool: Spool
    rows: list[Row] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    def drain(self) -> "Counted":
        """Cut, store and acknowledge one batch; its flows must add up to its totals."""
        batch = self.spool.cut()
        assert self.spool.mismatches == 0
        self.spool.acknowledge(batch.sequence)
        self.batches.append(batch)
        self.rows += rows(batch)
        return self

    def by_key(self) -> Mapping[WireKey, Counts]:
        """Packets and bytes by source, destination and protocol."""
        return by_key(self.rows)

    @property
    def seen(self) -> Counts:
        """Counts seen by the hook in all batches."""
        return _sum(batch.totals.seen for batch in self.batches)

    @property
    def seen_off_loopback(self) -> Counts:
        """As `seen`, without packets over loopback: an adopting agent sends itself some."""
        seen, loopback = self.seen, self.ignored("loopback")
        return Counts(seen.packets - loopback.packets, seen.bytes - loopback.bytes)

    @property
    def accounted(self) -> Counts:
        """The sum of the flows of all batches."""
        return _sum(row.counts for row in self.rows)

    def missed(self, reason: str) -> Counts:
        """Counts missed for a reason in all batches."""
        return _sum(b.totals.missed.get(reason, Counts()) for b in self.batches)

    def ignored(self, reason: str) -> Counts:
        """Counts ignored for a reason in all batches."""
        return _sum(b.totals.ignored.get(reason, Counts()) for b in self.batches)


def rows(batch: Batch) -> list[Row]:
    """The flows of a batch."""
    flows = batch.flows
    names = [ip.text(address.tobytes()) for address in flows.addresses]
    vias = [NO_VIA] * len(flows) if flows.via is None else flows.via.tolist()
    return [
        Row(
            names[flows.src[i]],
            names[flows.dst[i]],
            int(flows.protocol[i]),
            int(flows.src_port[i]),
            int(flows.dst_port[i]),
            int(flows.flags[i]),
            Counts(int(flows.packets[i]), int(flows.bytes[i])),
            "" if vias[i] == NO_VIA else names[vias[i]],
        )
        for i in range(len(flows))
    ]


def by_key(found: list[Row]) -> Mapping[WireKey, Counts]:
    """Packets and bytes by source, destination and protocol."""
    sums: dict[WireKey, Counts] = {}
    for row in found:
        sums[row.key] = sums.get(row.key, Counts()).plus(row.counts)
    return sums


def difference(
    before: Mapping[WireKey, Counts], after: Mapping[WireKey, Counts]
) -> dict[WireKey, Counts]:
    """The difference by key, without keys that did not change."""
    found = {}
    for key, now in after.items():
        was = before.get(key, Counts())
        if now != was:
            found[key] = Counts(now.packets - was.packets, now.bytes - was.bytes)
    return found


@contextmanager
def counting(
    node: Node, settings: Settings | None = None, probe: Probe = PROBE
) -> Iterator[Counted]:
    """Attach the probe in a node's namespace within the block, without pins."""
    with attached(node, settings, probe) as maps:
        yield Counted(Spool(maps))


@contextmanager
def attached(
    node: Node, settings: Settings | None = None, probe: Probe = PROBE
) -> Iterator[MapSet]:
    """As `counting`, the maps themselves; hooks on devices are on the uplink."""
    try:
        support.require(probe)
    except UnsupportedError as error:
        pytest.skip(f"{error}: {error.hint}")
    with (
        namespaces.inside(node.namespace),
        unpinned(probe, settings or Settings(), [device(node.uplink)]) as maps,
    ):
        maps.set_addresses(read_devices().addresses())
        yield maps


@contextmanager
def watched(lab: Lab, probe: Probe) -> Iterator[Counted]:
    """A probe on node a1 that counts its egress, with the uplinks set."""
    node = lab.node("a1")
    with attached(node, probe=probe) as maps:
        tell_devices(maps, node, skip_inbound=True)
        yield Counted(Spool(maps))


def tell_devices(maps: MapSet, node: Node, *, skip_inbound: bool) -> None:
    """Give a probe the devices and addresses of a node, as its agent does."""
    with namespaces.inside(node.namespace):
        table = read_devices()
    maps.set_devices(table.roles())
    maps.set_addresses(table.addresses())
    maps.set_skip_inbound(skip=skip_inbound)


def spool_of(maps: MapSet, node: Node) -> Spool:
    """A spool that knows the devices of a node's pods at each cut, as its agent does."""

    def senders() -> Senders:
        def neighbours(index: int) -> dict[bytes, bytes]:
            with namespaces.inside(node.namespace):
                return read_neighbours(index)

        with namespaces.inside(node.namespace):
            return read_devices().senders(neighbours)

    return Spool(maps, access=buffers.Reader(senders))


def device(name: str) -> Device:
    """A device of this thread's network namespace as an uplink."""
    return Device(socket.if_nametoindex(name), name)


@dataclass(frozen=True, slots=True)
class Bench:
    """A loaded program without a hook: tests run it on single packets."""

    programs: Mapping[int, int]
    maps: MapSet
    counted: Counted

    def give(self, frame: bytes, family: int) -> None:
        """Run the program of a family on an Ethernet frame, which it must accept."""
        verdict, _ = run_netfilter(self.programs[family], frame, family=family)
        assert verdict == NF_ACCEPT


@contextmanager
def loaded(settings: Settings | None = None) -> Iterator[Bench]:
    """Load the probe within the block, without attaching it."""
    with load(PROBE, settings or Settings()) as found:
        programs = {
            family: found.program_fd(hook.program)
            for family, hook in zip((4, 6), PROBE.hooks, strict=True)
        }
        with MapSet({name: os.dup(found.map_fd(name)) for name in MAPS}) as maps:
            yield Bench(programs, maps, Counted(Spool(maps)))


def _sum(counts: Iterator[Counts]) -> Counts:
    total = Counts()
    for one in counts:
        total = total.plus(one)
    return total
