"""Addresses behind devices follow the routes of the kernel, one change after another."""

from kzn.agent.devices.host_routes import HostRoutes
from kzn.agent.devices.netlink_messages import HostRoute, RouteKey
from kzn.model.ip import pack

A = pack("10.1.0.5")


def test_an_address_is_behind_a_device_while_one_of_its_routes_is_left() -> None:
    main, other = RouteKey(A), RouteKey(A, table=77)
    routes = HostRoutes([HostRoute(10, main), HostRoute(10, other)])
    routes.apply(HostRoute(10, other, is_gone=True))
    assert routes.behind(10) == {A}
    routes.apply(HostRoute(10, main, is_gone=True))
    assert routes.behind(10) == set()


def test_a_replaced_route_leaves_its_device_and_those_of_other_metrics_stay() -> None:
    routes = HostRoutes([HostRoute(10, RouteKey(A)), HostRoute(11, RouteKey(A, metric=5))])
    routes.apply(HostRoute(12, RouteKey(A), replaces=True))
    assert [routes.behind(index) for index in (10, 11, 12)] == [set(), {A}, {A}]


def test_a_route_elsewhere_takes_the_place_of_one_to_a_device() -> None:
    routes = HostRoutes([HostRoute(10, RouteKey(A))])
    routes.apply(HostRoute(0, RouteKey(A), replaces=True))
    assert routes.behind(10) == set()


def test_a_device_that_is_gone_has_no_address_and_returns_without_one() -> None:
    routes = HostRoutes([HostRoute(10, RouteKey(A)), HostRoute(11, RouteKey(A, table=77))])
    routes.drop(10)
    assert (routes.behind(10), routes.behind(11)) == (set(), {A})
    routes.apply(HostRoute(10, RouteKey(A), is_gone=True))
    assert routes.behind(10) == set()
