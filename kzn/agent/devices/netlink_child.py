"""Lists the node's devices and routes by netlink, in a child process that imports pyroute2.

In the agent's own process pyroute2 would cost 10 MB for good.

In: the network namespace of the calling thread. Out: `Device` of each that may lead off the node.
Never: a change to the node's network.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from kzn.agent.devices.uplinks import Device, egress_devices
from kzn.child import ChildError, run_child_async, serve_request

ASK_SECONDS = 20.0
ARPHRD_ETHER = 1  # include/uapi/linux/if_arp.h


async def find_egress_devices() -> tuple[Device, ...]:
    """The devices that may lead off this node; ChildError when netlink does not answer."""
    try:
        rows = await run_child_async(__name__, None, seconds=ASK_SECONDS)
    except ChildError as error:
        raise ChildError(f"ask netlink for the uplinks: {error}") from error
    return tuple(Device(**row) for row in rows)


def _list_devices(_request: None) -> list[dict[str, Any]]:
    from pyroute2 import IPRoute  # noqa: PLC0415 - only the child: 25 MB

    with IPRoute() as netlink:
        devices = [_device(link) for link in netlink.get_links()]
        gateways = _gateways(netlink.get_routes())
    return [asdict(device) for device in egress_devices(devices, gateways)]


def _device(link: Mapping[str, Any]) -> Device:
    attributes = dict(link["attrs"])
    info = dict(attributes.get("IFLA_LINKINFO", {}).get("attrs", []))
    peer_in_other_netns = attributes.get("IFLA_LINK_NETNSID") is not None
    return Device(
        index=link["index"],
        name=attributes["IFLA_IFNAME"],
        kind=info.get("IFLA_INFO_KIND", ""),
        master=attributes.get("IFLA_MASTER") or 0,
        peer_in_other_netns=peer_in_other_netns,
        lower_device=0 if peer_in_other_netns else attributes.get("IFLA_LINK") or 0,
        ethernet=link["ifi_type"] == ARPHRD_ETHER,
    )


def _gateways(routes: Iterable[Mapping[str, Any]]) -> frozenset[int]:
    """Indices of the devices that a default route, or a route with a gateway, leads through."""
    found: set[int] = set()
    for route in routes:
        attributes = dict(route["attrs"])
        hops = [
            attributes,
            *(dict(hop["attrs"]) | hop for hop in attributes.get("RTA_MULTIPATH", [])),
        ]
        is_default = route["dst_len"] == 0
        for hop in hops:
            if is_default or hop.get("RTA_GATEWAY") or hop.get("RTA_VIA"):
                found.add(hop.get("RTA_OIF") or hop.get("oif") or 0)
    return frozenset(found)


if __name__ == "__main__":
    serve_request(_list_devices)
