"""The network devices of this namespace, from netlink."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kzn.errors import KznError

IFLA_GSO_IPV4_MAX_SIZE = 63
"""include/uapi/linux/if_link.h, Linux 6.3; pyroute2 does not know it by name."""


@dataclass(frozen=True, slots=True)
class Interface:
    """``kind`` is empty for hardware; sizes in bytes, 0 where the kernel reports none."""

    index: int
    name: str
    kind: str
    mtu: int
    gso_max: int = 0
    gso_ipv4_max: int = 0


def interfaces() -> list[Interface]:
    """All devices of this network namespace; KznError when netlink fails."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - 25 MB, and slow to import
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415 - as above

    try:
        with IPRoute() as netlink:
            return [_interface(link) for link in netlink.get_links()]
    except (NetlinkError, OSError) as error:
        raise KznError(f"list the devices by netlink: {error}") from error


def _interface(link: Mapping[str, Any]) -> Interface:
    attributes = dict(link["attrs"])
    info = dict(attributes.get("IFLA_LINKINFO", {}).get("attrs", []))
    return Interface(
        index=link["index"],
        name=attributes["IFLA_IFNAME"],
        kind=info.get("IFLA_INFO_KIND", ""),
        mtu=attributes.get("IFLA_MTU", 0),
        gso_max=attributes.get("IFLA_GSO_MAX_SIZE", 0),
        gso_ipv4_max=_unnamed(link, IFLA_GSO_IPV4_MAX_SIZE),
    )


def _unnamed(link: Mapping[str, Any], number: int) -> int:
    """A 32-bit attribute that pyroute2 has no name for; 0 when the kernel does not send it."""
    attributes = dict(link["attrs"])
    if "IFLA_GSO_IPV4_MAX_SIZE" in attributes:  # a later pyroute2 names it
        return int(attributes["IFLA_GSO_IPV4_MAX_SIZE"])
    for name, value in link["attrs"]:
        if name == "UNKNOWN" and value["header"]["type"] == number:
            found: int = struct.unpack_from("=I", value.data, value.offset + 4)[0]
            return found
    return 0
