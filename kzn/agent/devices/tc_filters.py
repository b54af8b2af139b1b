"""Programs as tc filters on clsact qdiscs: put on devices, and taken off again.

A filter has no descriptor, so it is found by the id of the program that it runs: nobody else's is
ever touched. A clsact qdisc that was not there is made, and taken away with the last filter.

pyroute2 speaks to the kernel in a child process that lives for a tenth of a second, as for the
uplinks (uplinks.py); the child is given the program by its descriptor.
"""

import errno
import json
import logging
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from kzn.errors import KernelError, KznError
from kzn.libbpf.objects import program_id

log = logging.getLogger(__name__)

TALK_SECONDS = 20.0
EGRESS = 0xFFFFFFF3
INGRESS = 0xFFFFFFF2
ETH_P_ALL = 3
"""include/uapi/linux/pkt_sched.h (TC_H_CLSACT, TC_H_MIN_EGRESS), if_ether.h."""
PRIORITIES = range(1, 10)
"""First, if no filter of another kind has that number: a CNI's program ends the chain."""
HANDLE = 0x6B7A
"""Programs of one priority are told apart by it; ours is "kz"."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``made``: on these devices the qdisc is ours. ``failed``: errno by device.

    ``absent``: these devices had no filter to take off.
    """

    made: frozenset[int]
    failed: dict[int, int]
    absent: frozenset[int]


def place(program: int, name: str, on: Collection[int]) -> Outcome:
    """A filter that runs a program, given by descriptor, on each device, where there is none."""
    return _request(program, {"name": name, "on": sorted(on), "off": [], "made": []})


def remove(program: int, off: Collection[int], made: Collection[int]) -> None:
    """Take its filters off devices, and the qdiscs off those where they were made for it.

    KernelError when a filter stays; a device that has gone has taken its filters along.
    """
    order = {"name": "", "on": [], "off": sorted(off), "made": sorted(made)}
    outcome = _request(program, order)
    if outcome.absent:
        log.warning(
            "no filter of kzn on device %s: did somebody take it off,"
            " or is it in another network namespace?",
            ", ".join(map(str, sorted(outcome.absent))),
        )
    for index, code in outcome.failed.items():
        raise KernelError(
            f"remove the filter from device {index}: {errno.errorcode.get(code, code)}", errno=code
        )


def _request(program: int, order: dict[str, Any]) -> Outcome:
    order |= {"fd": program, "id": program_id(program)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "kzn.agent.devices.tc_filters"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            pass_fds=[program],
            timeout=TALK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KznError(f"filters by netlink: {error}") from error
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise KznError(f"filters by netlink: {words[-1]}")
    answer = json.loads(done.stdout)
    failed = {int(index): code for index, code in answer["failed"].items()}
    return Outcome(frozenset(answer["made"]), failed, frozenset(answer["absent"]))


class _Netlink:
    """The child's hands."""

    def __init__(self, netlink: Any, order: dict[str, Any]) -> None:
        self._netlink = netlink
        self._fd: int = order["fd"]
        self._id: int = order["id"]
        self._name: str = order["name"]

    def put(self, index: int) -> bool:
        """Whether the qdisc had to be made."""
        made = self._make_qdisc(index)
        if not self._ours(index):
            self._add(index)
        return made

    def take(self, index: int, *, made: bool) -> bool:
        """Whether there was a filter to take off."""
        ours = self._ours(index)
        for row in ours:
            self._netlink.tc(
                "del-filter",
                "bpf",
                index,
                row["handle"],
                parent=EGRESS,
                prio=row["info"] >> 16,
                protocol=ETH_P_ALL,
            )
        others = self._rows(index, EGRESS) or self._rows(index, INGRESS)
        if made and ours and not others:  # without ours it is not the device that we knew
            self._netlink.tc("del", "clsact", index)
        return bool(ours)

    def _make_qdisc(self, index: int) -> bool:
        try:
            self._netlink.tc("add", "clsact", index)
        except self.errors() as error:
            if error.code != errno.EEXIST:
                raise
            return False
        return True

    def _add(self, index: int) -> None:
        for priority in PRIORITIES:
            try:
                self._netlink.tc(
                    "add-filter",
                    "bpf",
                    index,
                    HANDLE,
                    fd=self._fd,
                    name=self._name,
                    parent=EGRESS,
                    prio=priority,
                    protocol=ETH_P_ALL,
                    direct_action=True,
                )
            except self.errors() as error:
                taken = error.code in (errno.EEXIST, errno.EINVAL, errno.ENOENT)
                if not taken or priority == PRIORITIES[-1]:
                    raise
            else:
                return

    def _rows(self, index: int, parent: int) -> list[Any]:
        rows = self._netlink.get_filters(index=index, parent=parent)
        return [row for row in rows if row["handle"]]

    def _ours(self, index: int) -> list[Any]:
        return [row for row in self._rows(index, EGRESS) if self._runs(row) == self._id]

    @staticmethod
    def _runs(row: Any) -> int:
        options = dict(row["attrs"]).get("TCA_OPTIONS")
        found = dict(options["attrs"]).get("TCA_BPF_ID", 0) if options else 0
        return int(found)

    @staticmethod
    def errors() -> Any:
        from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415 - only the child

        return NetlinkError


def _child_main() -> None:
    """The child: an order on stdin, an outcome on stdout, both JSON."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - only the child: 25 MB

    _teach_program_ids()
    order = json.load(sys.stdin)
    made: list[int] = []
    absent: list[int] = []
    failed: dict[int, int] = {}
    with IPRoute() as netlink:
        hands = _Netlink(netlink, order)
        for index in (*order["on"], *order["off"]):
            try:
                if index in order["on"]:
                    if hands.put(index):
                        made.append(index)
                elif not hands.take(index, made=index in order["made"]):
                    absent.append(index)
            except hands.errors() as error:
                if index in order["on"] or error.code != errno.ENODEV:
                    failed[index] = error.code
    sys.stdout.write(json.dumps({"made": made, "failed": failed, "absent": absent}))


def _teach_program_ids() -> None:
    """Add what pyroute2 leaves out of enum TCA_BPF_* (include/uapi/linux/pkt_cls.h)."""
    from pyroute2.netlink.rtnl.tcmsg import sched_bpf  # noqa: PLC0415 - only the child

    known = {name for name, *_ in sched_bpf.options.nla_map}
    more = (("TCA_BPF_FLAGS_GEN", "uint32"), ("TCA_BPF_TAG", "hex"), ("TCA_BPF_ID", "uint32"))
    sched_bpf.options.nla_map += tuple(row for row in more if row[0] not in known)


if __name__ == "__main__":
    _child_main()
