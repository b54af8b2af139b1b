"""Real packets: UDP from a socket, past a program at POSTROUTING, into a device that drops them.

One program is attached at a time; the time of an empty one is taken off. What a packet costs
besides (socket, route, device) is several times more, so that only the best of many turns counts.
"""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address

from cffi import FFI
from lib.programs import OWN

from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import Role
from kzn.lab import namespaces
from kzn.libbpf.links import NF_INET_POST_ROUTING, attach_netfilter
from kzn.libbpf.objects import BpfObject
from kzn.probes import postrouting
from kzn.probes.attach import MAPS, load
from kzn.probes.settings import Settings

PRIORITY = 50
PAYLOAD = 100
BATCH = 1000
TURNS = 12
BATCHES = 8
SINK = "sink"
ENDS = {4: ("198.18.0.1", "198.18.0.2"), 6: ("fd00:18::1", "fd00:18::2")}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}

ffi = FFI()
ffi.cdef(
    """
    struct iovec { void *base; size_t len; };
    struct msghdr {
        void *name; unsigned int name_len; struct iovec *vector; size_t vectors;
        void *control; size_t control_len; int flags;
    };
    struct mmsghdr { struct msghdr header; unsigned int sent; };
    int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags);
    """
)


class Messages:
    """A batch of datagrams to as many ports of one address as there are flows."""

    def __init__(self, family: int, flows: int) -> None:
        self._libc = ffi.dlopen(None)
        payload, self._kept = ffi.new("char[]", PAYLOAD), []
        vector = ffi.new("struct iovec *", {"base": payload, "len": PAYLOAD})
        self._messages = ffi.new("struct mmsghdr[]", BATCH)
        address = ip_address(ENDS[family][1]).packed
        for at in range(BATCH):
            port = (1000 + at % flows).to_bytes(2, "big")
            kind = int(FAMILY[family]).to_bytes(2, "little")
            rest = address + bytes(8) if family == 4 else bytes(4) + address + bytes(4)
            name = kind + port + rest
            whole = ffi.new("char[]", len(name))
            ffi.memmove(whole, name, len(name))
            self._kept.append(whole)
            message = self._messages[at].header
            message.name, message.name_len = whole, len(name)
            message.vector, message.vectors = vector, 1
        self._kept += [payload, vector]

    def send(self, descriptor: int) -> float:
        """Nanoseconds of a packet."""
        began = time.perf_counter_ns()
        sent = self._libc.sendmmsg(descriptor, self._messages, BATCH, 0)
        spent = time.perf_counter_ns() - began
        if sent != BATCH:
            raise AssertionError(f"{sent} of {BATCH} packets were sent")
        return spent / BATCH


@contextmanager
def _sink(name: str) -> Iterator[int]:
    """A namespace with a device that drops; the index of the device."""
    with namespaces.private_names():
        subprocess.run(["ip", "netns", "add", name], check=True)
        for command in (
            f"link add {SINK} type ifb",
            f"link set {SINK} up arp off",
            f"addr add {ENDS[4][0]}/24 dev {SINK}",
            f"addr add {ENDS[6][0]}/64 dev {SINK} nodad",
        ):
            subprocess.run(["ip", "-n", name, *command.split()], check=True)
        with namespaces.inside(name):
            yield socket.if_nametoindex(SINK)


def measure(own: Mapping[str, bytes]) -> dict[str, dict[str, float]]:
    """By column (flows) and row (program and family): nanoseconds over the empty program."""
    with ExitStack() as stack:
        index = stack.enter_context(_sink("sinkhole"))
        loaded = stack.enter_context(load(postrouting.PROBE, Settings()))
        with MapSet({name: os.dup(loaded.map_fd(name)) for name in MAPS}) as maps:
            maps.set_devices({index: Role.LEADS_OFF})
        programs = {}
        for name in ("empty", "baseline"):
            simple = stack.enter_context(BpfObject(own[name], name))
            simple.set_program_type(*OWN[name])
            simple.load()
            programs[name] = dict.fromkeys((4, 6), simple.program_fd(name))
        programs["service"] = {
            family: loaded.program_fd(hook.program)
            for family, hook in zip((4, 6), postrouting.PROBE.hooks, strict=True)
        }
        return {
            f"real, {flows} flow{'s' * (flows > 1)}": _columns(programs, flows)
            for flows in (1, 1000)
        }


def _columns(programs: Mapping[str, Mapping[int, int]], flows: int) -> dict[str, float]:
    best: dict[tuple[str, int], float] = {}
    for family in (4, 6):
        messages = Messages(family, flows)
        with socket.socket(FAMILY[family], socket.SOCK_DGRAM) as sender:
            sender.bind((ENDS[family][0], 40_000))
            for _ in range(TURNS):
                for name, fds in programs.items():
                    if family == 6 and name == "baseline":
                        continue  # it counts IPv4 alone
                    link = attach_netfilter(
                        fds[family], f"ipv{family}", NF_INET_POST_ROUTING, PRIORITY, name
                    )
                    spent = min(messages.send(sender.fileno()) for _ in range(BATCHES))
                    os.close(link)
                    key = (name, family)
                    best[key] = min(best.get(key, spent), spent)
    found = {"baseline": best["baseline", 4] - best["empty", 4]}
    for family in (4, 6):
        found[f"service ipv{family}"] = best["service", family] - best["empty", family]
    return {name: round(value, 1) for name, value in found.items()}
