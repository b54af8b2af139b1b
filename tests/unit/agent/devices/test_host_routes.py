"""Addresses behind devices follow the routes of the kernel, one change after another."""

from dataclasses import replace
from typing import Any

import pytest

from kzn.agent.devices.host_routes import HostRoutes
from kzn.agent.devices.netlink_messages import HostRoute, RouteKey
from kzn.model.ip import pack

A, B, SIX = map(pack, ("10.1.0.5", "10.1.0.6", "fd00::5"))


def test_an_address_is_behind_a_device_while_one_of_its_routes_is_left() -> None:
    main, other = RouteKey(A), RouteKey(A, table=77)
    routes = HostRoutes([HostRoute(10, main), HostRoute(10, other)])
    routes.apply(HostRoute(10, other, is_gone=True))
    assert routes.behind(10) == {A}
    routes.apply(HostRoute(10, main, is_gone=True))
    assert routes.behind(10) == set()


def test_devices_with_routes_of_a_replaced_ones_key_are_read_again() -> None:
    first, second = HostRoute(10, RouteKey(A)), HostRoute(11, RouteKey(A))
    routes = HostRoutes([first, second, HostRoute(13, RouteKey(A, metric=5))])
    assert routes.apply(HostRoute(12, RouteKey(A), replaces=True)) == {10, 11}
    routes.set_device(10, [])
    routes.set_device(11, [first, second])
    assert [routes.behind(index) for index in (10, 11, 12, 13)] == [set(), {A}, {A}, {A}]


def test_a_route_elsewhere_may_take_the_place_of_one_to_a_device() -> None:
    routes = HostRoutes([HostRoute(10, RouteKey(A))])
    assert routes.apply(HostRoute(0, RouteKey(A), replaces=True)) == {10}
    assert routes.apply(HostRoute(0, RouteKey(B), replaces=True)) == frozenset()


@pytest.mark.parametrize("differs", [{"scope": 254}, {"protocol": 2}, {"source": B}])
def test_of_two_routes_to_a_device_that_differ_one_stays(differs: dict[str, Any]) -> None:
    one, other = HostRoute(10, RouteKey(A)), HostRoute(10, RouteKey(A), **differs)
    routes = HostRoutes([one, other])
    routes.apply(replace(one, is_gone=True))
    assert routes.behind(10) == {A}
    routes.apply(replace(other, is_gone=True))
    assert routes.behind(10) == set()


def test_a_device_that_goes_down_keeps_routes_of_scope_host() -> None:
    routes = HostRoutes([HostRoute(10, RouteKey(A), scope=254), HostRoute(10, RouteKey(B))])
    routes.drop_down(10)
    assert routes.behind(10) == {A}
    routes.drop(10)
    assert routes.behind(10) == set()


def test_routes_go_with_the_last_ipv4_address_of_their_device_or_with_their_source() -> None:
    sourced, six = HostRoute(11, RouteKey(A), source=B), HostRoute(10, RouteKey(SIX))
    routes = HostRoutes([HostRoute(10, RouteKey(A)), six, sourced])
    routes.drop_ipv4(10)
    assert (routes.behind(10), routes.behind(11)) == ({SIX}, {A})
    routes.drop_source(B)
    assert routes.behind(11) == set()


def test_a_device_that_is_gone_has_no_address_and_returns_without_one() -> None:
    routes = HostRoutes([HostRoute(10, RouteKey(A)), HostRoute(11, RouteKey(A, table=77))])
    routes.drop(10)
    assert (routes.behind(10), routes.behind(11)) == (set(), {A})
    routes.apply(HostRoute(10, RouteKey(A), is_gone=True))
    assert routes.behind(10) == set()
