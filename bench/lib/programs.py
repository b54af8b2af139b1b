"""Loads the programs to measure: the probes, a simple baseline, and empty ones as floors."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lib.testrun import compile_object, run, run_at_tc

from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import Role
from kzn.libbpf import capabilities
from kzn.libbpf.links import ATTACH_TYPE_NETFILTER, PROG_TYPE_NETFILTER, PROG_TYPE_SCHED_CLS
from kzn.libbpf.objects import BpfObject
from kzn.probes import clsact, postrouting, tcx
from kzn.probes.attach import MAPS, load
from kzn.probes.declaration import Probe
from kzn.probes.settings import PortsMode, Settings

LOOPBACK = 1  # its index in every network namespace
SOURCES = Path(__file__).parent / "bpf"
OWN = {
    "empty": (PROG_TYPE_NETFILTER, ATTACH_TYPE_NETFILTER),
    "baseline": (PROG_TYPE_NETFILTER, ATTACH_TYPE_NETFILTER),
    "empty_tc": (PROG_TYPE_SCHED_CLS, 0),
}
"""Type and attach type of the bench's own programs; file and program have the same name."""
MODES: tuple[PortsMode, ...] = ("none", "service", "all")
PLAIN = ("ipv4", "ipv6")
HIGH = " to 50051"
"""Suffix of a kind: the service's port is above the client's."""
WRAPPED = ("ipv4 in vxlan", "ipv6 in vxlan")
AT_TC = (
    ("tcx", tcx.PROBE, PLAIN, ()),
    (
        "tcx",
        tcx.PROBE,
        WRAPPED,
        (),
    ),  # its own maps, because the flows equal those of the previous row
    ("tcx", tcx.PROBE, (f"ipv4{HIGH}",), ()),
    ("clsact", clsact.PROBE, PLAIN, ()),
    ("tcx unprivileged", tcx.PROBE, PLAIN, tcx.PROBE.capabilities),
)
"""Row, probe, kinds of packets, and the capabilities while loading (all if empty).

Without CAP_PERFMON the kernel adds barriers against speculation to the program.
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A program: a function that runs a frame through it n times, its kind of frames, its floor."""

    run: Callable[[bytes, int], int]
    kind: str
    floor: str = ""


def images() -> dict[str, bytes]:
    """The objects of the bench's own programs."""
    return {name: compile_object(SOURCES / f"{name}.bpf.c") for name in OWN}


@contextmanager
def subjects(own: Mapping[str, bytes], flows: int) -> Iterator[dict[str, Subject]]:
    """A loaded instance of every program, by row, with maps for ``flows``."""
    with ExitStack() as stack:
        found = {name: _own(stack, name, image) for name, image in own.items()}
        for ports in MODES:
            loaded = stack.enter_context(load(postrouting.PROBE, Settings(ports, flows)))
            _set_uplink(loaded)
            for family, hook in zip((4, 6), postrouting.PROBE.hooks, strict=True):
                runner = partial(run, loaded.program_fd(hook.program), family=family)
                found[f"{ports} ipv{family}"] = Subject(runner, f"ipv{family}", "empty")
        for row, probe, kinds, held in AT_TC:
            runner = partial(run_at_tc, _at_tc(stack, probe, held, flows))
            found |= {f"{row} {kind}": Subject(runner, kind, "empty_tc") for kind in kinds}
        yield found


def _set_uplink(loaded: BpfObject) -> None:
    """Give the output device of test runs the role of an uplink, as an agent does."""
    with MapSet({name: os.dup(loaded.map_fd(name)) for name in MAPS}) as maps:
        maps.set_devices({LOOPBACK: Role.LEADS_OFF})


def _own(stack: ExitStack, name: str, image: bytes) -> Subject:
    loaded = stack.enter_context(BpfObject(image, name))
    loaded.set_program_type(*OWN[name])
    loaded.load()
    program = loaded.program_fd(name)
    if OWN[name][0] == PROG_TYPE_SCHED_CLS:
        return Subject(partial(run_at_tc, program), "ipv4")
    return Subject(partial(run, program), "ipv4", "" if name == "empty" else "empty")


def _at_tc(stack: ExitStack, probe: Probe, held: tuple[str, ...], flows: int) -> int:
    kept = capabilities.mask(held) if held else capabilities.read().permitted
    with capabilities.only(kept):
        loaded = stack.enter_context(load(probe, Settings(max_flows=flows)))
    return loaded.program_fd(probe.hooks[0].program)
