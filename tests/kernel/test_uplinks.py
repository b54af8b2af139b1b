"""The devices of a real namespace: their roles, and what happens when they change."""

import asyncio
import errno
import itertools
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import pytest
from counting import attached

from kzn.agent.devices.device_watch import DeviceWatch
from kzn.agent.devices.netlink import GROUPS, Routes, RouteSocket
from kzn.agent.devices.netlink_messages import route_body
from kzn.agent.devices.table import DeviceTable, read_devices
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import CONTROL_SIZE, DEVICE_PLACES, Control, Role
from kzn.errors import KernelError
from kzn.lab import namespaces
from kzn.lab.lab import Lab
from kzn.lab.plan import Node
from kzn.libbpf.maps import Map
from kzn.model.ip import pack

WAIT = 20.0


def roles(table: DeviceTable) -> dict[str, Role]:
    return {table.name(index): role for index, role in table.roles().items()}


def ip(lab: Lab, node: Node, *commands: str) -> None:
    for command in commands:
        lab.ip(["-n", node.namespace, *command.split()])


class Seen:
    """The last call of a watch."""

    def __init__(self) -> None:
        self.roles: dict[str, Role] = {}
        self.history: list[dict[str, Role]] = []
        self.pods: dict[str, tuple[bytes, ...]] = {}
        self.changed = asyncio.Event()

    async def apply(self, table: DeviceTable, _filters: frozenset[int]) -> None:
        self.roles = roles(table)
        self.history.append(self.roles)
        self.pods = {table.name(at): group for at, group in table.senders().pods.items()}
        self.changed.set()

    def holders(self, address: str) -> set[str]:
        return {name for name, group in self.pods.items() if pack(address) in group}

    async def until(self, condition: Callable[[dict[str, Role]], bool]) -> None:
        async with asyncio.timeout(WAIT):
            while not condition(self.roles):
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def watching(*names: str) -> AsyncIterator[tuple[Seen, DeviceWatch]]:
    seen = Seen()
    watch = DeviceWatch(names, seen.apply)
    task = asyncio.create_task(watch.run())
    try:
        await seen.until(bool)
        yield seen, watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_nodes_uplink_is_found_among_its_pod_devices(lab: Lab) -> None:
    node = lab.node("a1")
    with namespaces.inside(node.namespace):
        table = read_devices()
    assert [device.name for device in table.outermost()] == [node.uplink]
    pods = {pod.veth: Role.STAYS for pod in lab.plan.pods if pod.node == node.name}
    assert roles(table) == {"lo": Role.STAYS, node.uplink: Role.LEADS_OFF, **pods}
    assert {pack(node.ipv4), pack(node.ipv6)} <= table.addresses()
    assert not any(pack(pod.ipv4) in table.addresses() for pod in lab.plan.pods)


def test_devices_that_come_and_go_change_nothing_about_the_others(lab: Lab) -> None:
    node = lab.node("b1")

    async def scenario() -> None:
        async with watching() as (seen, watch):
            before = seen.roles
            for command, role in (
                ("link add late0 type vxlan id 9 dstport 4789", Role.TUNNEL),
                ("link add late0 type veth peer name late1", Role.LEADS_OFF),
                ("link add late0 type bridge", Role.STAYS),
            ):
                await asyncio.to_thread(ip, lab, node, command, "link set late0 up")
                await seen.until(lambda now, role=role: now.get("late0") == role)  # type: ignore[misc]
                await asyncio.to_thread(ip, lab, node, "link del late0")
                await seen.until(lambda now: "late0" not in now)
            assert all(before.items() <= now.items() for now in seen.history)
            assert watch.reads == 1

    with namespaces.inside(node.namespace):
        asyncio.run(scenario())


def test_a_device_that_gets_a_gateway_leads_off_until_it_loses_it(lab: Lab) -> None:
    node = lab.node("b1")
    veth = next(pod.veth for pod in lab.plan.pods if pod.node == node.name)

    async def scenario() -> None:
        async with watching() as (seen, _):
            route = f"203.0.113.0/24 via 198.51.100.1 dev {veth} onlink"
            assert seen.roles[veth] == Role.STAYS
            await asyncio.to_thread(ip, lab, node, f"route add {route}")
            await seen.until(lambda now: now[veth] == Role.LEADS_OFF)
            await asyncio.to_thread(ip, lab, node, f"route del {route}")
            await seen.until(lambda now: now[veth] == Role.STAYS)

    with namespaces.inside(node.namespace):
        asyncio.run(scenario())


def test_addresses_behind_pods_devices_follow_each_change_of_a_route(lab: Lab) -> None:
    node = lab.node("a1")
    first, second = (pod.veth for pod in lab.plan.pods if pod.node == node.name)
    routes = (
        f"route add 10.9.9.9/32 dev {first}",
        f"route replace 10.9.9.9/32 dev {second}",
        f"route append 10.9.9.9/32 dev {first}",
        f"route del 10.9.9.9/32 dev {second}",
        f"route change 10.9.9.9/32 dev {second}",
        f"route add 10.9.9.9/32 dev {first} metric 5",
        f"route add 10.9.9.9/32 dev {second} table 77",
        "route replace blackhole 10.9.9.9/32",
        f"route del 10.9.9.9/32 dev {second} table 77",
        f"route replace 10.9.9.9/32 via 198.51.100.1 dev {second} onlink metric 5",
        f"route replace 10.9.9.9/32 dev {first} metric 5",
        "route del 10.9.9.9/32 metric 5",
        "route del blackhole 10.9.9.9/32",
        f"-6 route add fd09::9/128 dev {first}",
        f"-6 route replace fd09::9/128 dev {second}",
        "-6 route replace blackhole fd09::9/128",
        "-6 route del blackhole fd09::9/128",
    )
    with namespaces.inside(node.namespace):
        table = read_devices()
        before = table.senders().pods
        with RouteSocket(GROUPS) as notifications, RouteSocket() as questions:
            for route in routes:
                ip(lab, node, route)
                for change in notifications.pending():
                    for index in table.apply(change):
                        table.set_routes(index, questions.routes(index))
                loaded = read_devices()
                assert table.senders().pods == loaded.senders().pods, route
                assert table.roles() == loaded.roles(), route
        assert loaded.senders().pods == before


def test_changes_that_the_kernel_tells_of_in_part_lead_where_a_dump_does(lab: Lab) -> None:
    node, [pod, *_] = lab.node("a1"), lab.plan.pods
    at = "10.9.9.9/32"
    ips = (
        *(f"link add t{n} type veth peer name tp{n} netns {pod.namespace}" for n in range(3)),
        *(f"link set t{n} up" for n in range(3)),
        # A replacement takes the place of the first of several routes of one key.
        *(f"route append {at} dev t{n}" for n in range(3)),
        f"route replace {at} via 203.0.113.1 dev t1 onlink",
        f"route del {at} via 203.0.113.1",
        f"route append {at} dev t1 scope host",
        f"route del {at} dev t1 scope link",
        # Down and up: scope host, one nexthop of two, the only one.
        "route append 10.9.9.7/32 dev t2 scope host",
        "link set t2 down",
        "link set t2 up",
        "route del 10.9.9.7/32",
        f"route flush {at}",
        "route add 203.0.113.0/24 nexthop via 198.51.100.1 dev t0 onlink"
        " nexthop via 198.51.100.1 dev t1 onlink",
        "link set t0 down",
        "link set t0 up",
        "route replace 203.0.113.0/24 via 198.51.100.1 dev t0 onlink",
        "link set t0 down",
        "link set t0 up",
        # Addresses: the last one of a device, the source of routes, of two peers one.
        f"route add {at} dev t0",
        "addr add 198.51.100.7/32 dev t0",
        "route append 10.9.9.8/32 dev t1 src 198.51.100.7",
        "addr add 198.51.100.8/32 dev t0",
        "addr del 198.51.100.7/32 dev t0",
        "addr del 198.51.100.8/32 dev t0",
        "addr add 198.51.100.9 peer 10.9.9.1/32 dev t0",
        "addr add 198.51.100.9 peer 10.9.9.2/32 dev t0",
        "addr del 198.51.100.9 peer 10.9.9.1/32 dev t0",
        "link set t0 down",
        "link set t0 name u0",
        "link set u0 up",
        *(f"link del {name}" for name in ("u0", "t1", "t2")),
    )
    with namespaces.inside(node.namespace):
        table = read_devices()
        with RouteSocket(GROUPS) as notifications, RouteSocket() as questions:
            for command in ips:
                ip(lab, node, command)
                for change in notifications.pending():
                    for index in table.apply(change):
                        table.set_routes(index, questions.routes(index))
                loaded = read_devices()
                assert table.senders().pods == loaded.senders().pods, command
                assert table.roles() == loaded.roles(), command
                assert table.addresses() == loaded.addresses(), command


@pytest.mark.parametrize("alone", [16, 0])
def test_a_watch_moves_an_address_with_its_route_by_one_dump_or_many(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, alone: int
) -> None:
    node = lab.node("a1")
    first, second = (pod.veth for pod in lab.plan.pods if pod.node == node.name)
    monkeypatch.setattr("kzn.agent.devices.device_watch.MAX_READ_ALONE", alone)

    async def scenario() -> None:
        async with watching() as (seen, watch):
            for action, veth in (("add", first), ("replace", second), ("del", None)):
                command = f"route {action} 10.9.9.9/32" + (f" dev {veth}" if veth else "")
                await asyncio.to_thread(ip, lab, node, command)
                holders = {veth} - {None}
                await seen.until(lambda _, now=holders: seen.holders("10.9.9.9") == now)  # type: ignore[misc]
            assert watch.reads == 1

    with namespaces.inside(node.namespace):
        asyncio.run(scenario())


def test_notifications_that_are_lost_lead_to_one_more_look(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = lab.node("b1")
    monkeypatch.setattr("kzn.agent.devices.netlink.RECEIVE_BYTES", 4096)

    async def scenario() -> None:
        async with watching() as (seen, watch):
            # All in one process, while the loop that would read does not run.
            lab.configure(
                node.namespace,
                [f"link add lost{n} type veth peer name lostp{n}" for n in range(100)],
            )
            await seen.until(lambda now: "lost99" in now)
            assert watch.reads > 1
            lab.configure(node.namespace, [f"link del lost{n}" for n in range(100)])
            await seen.until(lambda now: not any(name.startswith("lost") for name in now))

    with namespaces.inside(node.namespace):
        asyncio.run(scenario())


def test_only_entries_that_differ_are_written_and_none_stays_behind(lab: Lab) -> None:
    node = lab.node("a1")
    with attached(node) as maps:
        maps.set_devices({1: Role.STAYS, 70000: Role.LEADS_OFF})
        assert maps.devices() == {1: Role.STAYS, 70000: Role.LEADS_OFF}
        maps.set_devices({70000: Role.TUNNEL | Role.ENCRYPTS, 3: Role.STAYS})
        assert maps.devices() == {70000: Role.TUNNEL | Role.ENCRYPTS, 3: Role.STAYS}
        maps.set_devices({})
        assert maps.devices() == {}


def test_only_devices_that_lead_off_and_do_nothing_else_are_known_without_a_lookup(
    lab: Lab,
) -> None:
    with attached(lab.node("a1")) as maps:
        uplinks = dict.fromkeys((9, 8, 7, 6, 5), Role.LEADS_OFF)
        maps.set_devices(uplinks | {1: Role.LEADS_OFF | Role.TUNNEL, 2: Role.STAYS})
        assert known_without_lookup(maps) == (5, 6, 7, 8)
        maps.set_devices({8: Role.LEADS_OFF | Role.PASSES_AGAIN, 9: Role.LEADS_OFF, 5: Role.STAYS})
        assert known_without_lookup(maps) == (9,)
        maps.set_skip_inbound(skip=True)
        assert known_without_lookup(maps) == (9,)


def known_without_lookup(maps: MapSet) -> tuple[int, ...]:
    return read_control(maps).uplinks


def read_control(maps: MapSet) -> Control:
    return Control.unpack(Map(maps.fds()["control"], "control").read(0, CONTROL_SIZE))


SETS_OF_ROLES = (
    {5: Role.LEADS_OFF, 6: Role.LEADS_OFF, 7: Role.TUNNEL, 1029: Role.TUNNEL, 8: Role.STAYS},
    {5: Role.PASSES_AGAIN, 6: Role.LEADS_OFF, 9: Role.LEADS_OFF, 10: Role.TUNNEL, 8: Role.TUNNEL},
    {},
    {1029: Role.LEADS_OFF, 10: Role.LEADS_OFF, 7: Role.STAYS, 2057: Role.TUNNEL, 5: Role.STAYS},
    {1029: Role.TUNNEL | Role.LEADS_OFF, 10: Role.LEADS_OFF, 2057: Role.LEADS_OFF},
)
"""Some indices have the same place, index % 1024."""


def test_between_two_writes_a_device_has_its_old_or_new_role_and_control_agrees(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = 0
    with attached(lab.node("a1")) as maps:
        maps.set_devices({})
        for old, new in itertools.permutations(SETS_OF_ROLES, 2):
            maps.set_devices(old)
            indices = sorted(old.keys() | new.keys())

            def check(old: Mapping[int, Role], new: Mapping[int, Role], all_of: list[int]) -> None:
                nonlocal checked
                checked += 1
                control = read_control(maps)
                for index in all_of:
                    role = role_to_programs(maps, index)
                    assert role in (old.get(index, Role(0)), new.get(index, Role(0)))
                    assert index not in control.uplinks or role == Role.LEADS_OFF
                    assert not role & Role.TUNNEL or control.tunnel_devices >> index % 64 & 1

            with monkeypatch.context() as patch:
                for name in ("put", "remove", "write"):
                    patch.setattr(
                        Map, name, then(getattr(Map, name), partial(check, old, new, indices))
                    )
                maps.set_devices(new)
            assert {index: role_to_programs(maps, index) for index in new} == new
            control = read_control(maps)
            tunnels = {index % 64 for index, role in new.items() if role & Role.TUNNEL}
            assert control.tunnel_devices == sum(1 << bit for bit in tunnels)
            wanted = sorted(index for index, role in new.items() if role == Role.LEADS_OFF)
            assert control.uplinks == tuple(wanted)
    assert checked > 100


def then(work: Callable[..., object], check: Callable[[], None]) -> Callable[..., object]:
    def worked(*args: object) -> object:
        done = work(*args)
        check()
        return done

    return worked


def role_to_programs(maps: MapSet, index: int) -> Role:
    """As device_role() in bpf/src/account.bpf.h."""
    raw = Map(maps.fds()["device_places"], "places").read(index % DEVICE_PLACES, 8)
    place = int.from_bytes(raw, "little")
    return Role(place & 0xFFFFFFFF) if place >> 32 == index else maps.devices().get(index, Role(0))


def test_of_more_devices_than_fit_the_rest_is_a_number(lab: Lab) -> None:
    with attached(lab.node("a1")) as maps:
        assert maps.set_devices(dict.fromkeys(range(1, 16387), Role.STAYS)) == 2


def test_a_dump_of_routes_of_one_device_asks_for_that_one(lab: Lab) -> None:
    node = lab.node("a1")
    with namespaces.inside(node.namespace), RouteSocket() as questions:
        [uplink] = [link.index for link in questions.links() if link.name == node.uplink]
        assert questions.routes().gateways == {uplink}
        assert questions.routes(uplink).gateways == {uplink}
        assert questions.routes(1).gateways == frozenset()
        assert questions.routes(1 << 20) == Routes(frozenset(), frozenset())


def test_a_dump_that_the_kernel_ends_by_an_error_is_no_empty_answer(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_table = route_body(2) + struct.pack("=HHI", 8, 15, 123456)  # RTA_TABLE
    monkeypatch.setattr("kzn.agent.devices.netlink_messages.route_body", lambda *_: no_table)
    with namespaces.inside(lab.node("a1").namespace), RouteSocket() as questions:
        with pytest.raises(KernelError, match="dump") as caught:
            questions.routes()
        assert caught.value.errno == errno.ENOENT
