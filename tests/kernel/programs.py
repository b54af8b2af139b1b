"""Loaded probes that tests share: to verify one program takes 20 s of an emulated processor."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from counting import Counted

from kzn.agent.devices.table import Device, read_devices
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.spool import Spool
from kzn.agent.pins.attachments import ProcessAttachments, attach_all, follow
from kzn.errors import UnsupportedError
from kzn.lab import namespaces
from kzn.lab.lab import Lab
from kzn.lab.plan import Node
from kzn.libbpf.objects import BpfObject
from kzn.libbpf.pins import pin
from kzn.probes import clsact, postrouting, support, tcx
from kzn.probes.attach import MAPS, load
from kzn.probes.declaration import Probe
from kzn.probes.settings import Settings


@dataclass(frozen=True, slots=True)
class Loaded:
    """A probe in the kernel, without a hook, and its maps."""

    probe: Probe
    loaded: BpfObject
    maps: MapSet


class Programs:
    """Probes that stay loaded until the block ends; each use attaches one, and drains it first."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._free: dict[str, list[Loaded]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def every_probe(self, lab: Lab, node: Node) -> Iterator[dict[str, Counted]]:
        """`postrouting`, and `tcx` or on older kernels `clsact`, at once: each counts the same
        packets.
        """
        with ExitStack() as stack:
            found: dict[str, Counted] = {}
            for probe in (postrouting.PROBE, tcx.PROBE, clsact.PROBE):
                try:
                    support.require(probe)
                except UnsupportedError:
                    continue
                if probe.name != "clsact" or "tcx" not in found:
                    found[probe.name] = stack.enter_context(self.attached(lab, node, probe))
            yield found

    @contextmanager
    def attached(self, lab: Lab, node: Node, probe: Probe) -> Iterator[Counted]:
        """A probe on all outermost devices of a node, which skips arriving packets.

        This thread is in the node's namespace within the block. A set of maps whose test failed is
        not used again.
        """
        one = self._take(probe)
        with namespaces.inside(node.namespace):
            table, spool = read_devices(), Spool(one.maps)
            one.maps.set_devices(table.roles())
            one.maps.set_addresses(table.addresses())
            one.maps.set_skip_inbound(skip=True)
            spool.acknowledge(spool.cut().sequence)
            with _hooks(lab, node, one, table.outermost()):
                yield Counted(spool)
        self._free[probe.name].append(one)

    def _take(self, probe: Probe) -> Loaded:
        free = self._free.setdefault(probe.name, [])
        if free:
            return free.pop()
        loaded = self._stack.enter_context(load(probe, Settings()))
        fds = {name: os.dup(loaded.map_fd(name)) for name in MAPS}
        return Loaded(probe, loaded, self._stack.enter_context(MapSet(fds)))


@contextmanager
def _hooks(lab: Lab, node: Node, one: Loaded, devices: Sequence[Device]) -> Iterator[None]:
    if one.probe.name == "clsact":
        with _filters(lab, node, one, devices):
            yield
        return
    with ProcessAttachments() as store:
        attach_all(one.probe, one.loaded, store)
        follow(one.probe, store, devices if one.probe.device_hooks() else ())
        yield


@contextmanager
def _filters(lab: Lab, node: Node, one: Loaded, devices: Sequence[Device]) -> Iterator[None]:
    """The program of `clsact`, attached by tc: two children with pyroute2 take half a minute of an
    emulated processor, and the agent's tests have them.
    """
    path = Path(lab.directory, "bpf", f"clsact-{node.name}")
    names = [device.name for device in devices]
    bpf = f"egress bpf direct-action object-pinned {path}"
    pin(one.loaded.program_fd(clsact.PROBE.hooks[0].program), path)
    try:
        _tc(lab, node, [f"qdisc add dev {name} clsact" for name in names])
        _tc(lab, node, [f"filter add dev {name} {bpf}" for name in names])
        yield
    finally:
        _tc(lab, node, [f"qdisc del dev {name} clsact" for name in names])
        path.unlink()


def _tc(lab: Lab, node: Node, lines: Sequence[str]) -> None:
    batch = Path(lab.directory, "batch")
    batch.write_text("".join(f"{line}\n" for line in lines))
    done = lab.run(node.namespace, ["tc", "-batch", str(batch)])
    assert done.returncode == 0, done.stderr
