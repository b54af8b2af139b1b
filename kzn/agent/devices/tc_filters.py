"""Attaches a program to devices as a tc filter on clsact qdiscs, and detaches it.

A filter has no descriptor, so kzn finds its own by the id of the program that they run and never
touches another. It creates a missing clsact qdisc, and removes that with its last filter.

pyroute2 runs in a child process, where its 25 MB end with the work; the child inherits the
program's descriptor.
"""

import errno
import logging
from collections.abc import Collection
from dataclasses import dataclass
from itertools import product
from typing import Any

from kzn.agent.devices.netlink_messages import TC_EGRESS as EGRESS
from kzn.child import ChildError, run_child, serve_request
from kzn.errors import KernelError, KznError
from kzn.libbpf.objects import program_id

log = logging.getLogger(__name__)

ASK_SECONDS = 60.0
"""A busy node may need tens of seconds to start the child."""
INGRESS = 0xFFFFFFF2
ETH_P_ALL = 3
"""include/uapi/linux/pkt_sched.h (TC_H_CLSACT, TC_H_MIN_EGRESS), if_ether.h."""
PRIORITIES = range(1, 10)
"""Tried in order: 1 runs first, since a CNI's program may end the chain, but a filter of another
kind may have it."""
HANDLES = 0x6B7A, 0x6B7B
"""Distinguish programs of one priority; kzn's is "kz", or the next while it replaces its own."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``made``: devices on which kzn created the qdisc. ``failed``: errno by device.

    ``absent``: devices that had no filter to remove.
    """

    made: frozenset[int]
    failed: dict[int, int]
    absent: frozenset[int]


def place(program: int, name: str, on: Collection[int]) -> Outcome:
    """Add a filter that runs a program, given by descriptor, to each device that has none."""
    return _request(program, {"name": name, "on": sorted(on), "off": [], "made": []})


def remove(program: int, off: Collection[int], made: Collection[int]) -> None:
    """Remove its filters from ``off``, and the qdiscs that kzn created on ``made``.

    KernelError when a filter stays. A device that no longer exists has no filters.
    """
    request = {"name": "", "on": [], "off": sorted(off), "made": sorted(made)}
    outcome = _request(program, request)
    if outcome.absent:
        log.warning(
            "no filter of kzn on device %s: removed by another tool,"
            " or the device is in another network namespace",
            ", ".join(map(str, sorted(outcome.absent))),
        )
    for index, code in outcome.failed.items():
        raise KernelError(
            f"remove the filter from device {index}: {errno.errorcode.get(code, code)}", errno=code
        )


def _request(program: int, request: dict[str, Any]) -> Outcome:
    request |= {"fd": program, "id": program_id(program)}
    try:
        answer = run_child(__name__, request, seconds=ASK_SECONDS, fds=[program])
    except ChildError as error:
        raise KznError(f"tc filters by netlink: {error}") from error
    failed = {int(index): code for index, code in answer["failed"].items()}
    return Outcome(frozenset(answer["made"]), failed, frozenset(answer["absent"]))


class _FilterOperations:
    """tc operations, run in the child process that imports pyroute2."""

    def __init__(self, netlink: Any, request: dict[str, Any]) -> None:
        self._netlink = netlink
        self._fd: int = request["fd"]
        self._id: int = request["id"]
        self._name: str = request["name"]

    def add(self, index: int) -> bool:
        """Add the filter unless it is there; True when the qdisc had to be created."""
        made = self._create_qdisc(index)
        if not self._own_filters(index):
            self._add_filter(index)
        return made

    def remove(self, index: int, *, made: bool) -> bool:
        """Remove the filter, and the qdisc if ``made``; True when there was a filter."""
        own = self._own_filters(index)
        for row in own:
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
        if made and own and not others:  # without our filter the index is another device's by now
            self._netlink.tc("del", "clsact", index)
        return bool(own)

    def _create_qdisc(self, index: int) -> bool:
        try:
            self._netlink.tc("add", "clsact", index)
        except self.errors() as error:
            if error.code != errno.EEXIST:
                raise
            return False
        return True

    def _add_filter(self, index: int) -> None:
        for priority, handle in product(PRIORITIES, HANDLES):
            try:
                self._netlink.tc(
                    "add-filter",
                    "bpf",
                    index,
                    handle,
                    fd=self._fd,
                    name=self._name,
                    parent=EGRESS,
                    prio=priority,
                    protocol=ETH_P_ALL,
                    direct_action=True,
                )
            except self.errors() as error:
                taken = error.code in (errno.EEXIST, errno.EINVAL, errno.ENOENT)
                if not taken or (priority, handle) == (PRIORITIES[-1], HANDLES[-1]):
                    raise
            else:
                return

    def _rows(self, index: int, parent: int) -> list[Any]:
        rows = self._netlink.get_filters(index=index, parent=parent)
        return [row for row in rows if row["handle"]]

    def _own_filters(self, index: int) -> list[Any]:
        return [row for row in self._rows(index, EGRESS) if self._program_of(row) == self._id]

    @staticmethod
    def _program_of(row: Any) -> int:
        options = dict(row["attrs"]).get("TCA_OPTIONS")
        found = dict(options["attrs"]).get("TCA_BPF_ID", 0) if options else 0
        return int(found)

    @staticmethod
    def errors() -> Any:
        from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415 - only the child

        return NetlinkError


def _child_main(request: dict[str, Any]) -> dict[str, Any]:
    from pyroute2 import IPRoute  # noqa: PLC0415 - only the child: 25 MB

    _declare_program_ids()
    made: list[int] = []
    absent: list[int] = []
    failed: dict[int, int] = {}
    with IPRoute() as netlink:
        tc = _FilterOperations(netlink, request)
        for index in (*request["on"], *request["off"]):
            try:
                if index in request["on"]:
                    if tc.add(index):
                        made.append(index)
                elif not tc.remove(index, made=index in request["made"]):
                    absent.append(index)
            except tc.errors() as error:
                if index in request["on"] or error.code != errno.ENODEV:
                    failed[index] = error.code
    return {"made": made, "failed": failed, "absent": absent}


def _declare_program_ids() -> None:
    """Add the attributes that pyroute2 lacks of enum TCA_BPF_* (include/uapi/linux/pkt_cls.h)."""
    from pyroute2.netlink.rtnl.tcmsg import sched_bpf  # noqa: PLC0415 - only the child

    known = {name for name, *_ in sched_bpf.options.nla_map}
    more = (("TCA_BPF_FLAGS_GEN", "uint32"), ("TCA_BPF_TAG", "hex"), ("TCA_BPF_ID", "uint32"))
    sched_bpf.options.nla_map += tuple(row for row in more if row[0] not in known)


if __name__ == "__main__":
    serve_request(_child_main)
