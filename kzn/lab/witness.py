"""The witness: what the lab's wires carried, counted by the kernel independently of kzn.

In: names of namespaces. Out: device counters, and L3 bytes by address pair and protocol.
Never: eBPF, or any other code that kzn counts with.

There are two independent counts: the counters of the node's uplink device, and nftables sets in
the fabric, where packets arrive as the uplinks sent them (after segmentation, with L3 length).
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from kzn.errors import KznError, UnsupportedError
from kzn.model.totals import Counts

ETHERNET_HEADER = 14

# Before defragmentation (-400), since each fragment is a packet on the wire.
RULES = "\n".join(
    f"""
table {family} wire {{
  set carried {{
    type {address}_addr . {address}_addr . inet_proto
    size 65535
    flags dynamic
    counter
  }}
  set uplinks {{
    type ifname
    size 1024
    flags dynamic
    counter
  }}
  chain arrive {{
    type filter hook prerouting priority -450
    update @carried {{ {family} saddr . {family} daddr . meta l4proto counter }}
    update @uplinks {{ iifname counter }}
  }}
}}"""
    for family, address in (("ip", "ipv4"), ("ip6", "ipv6"))
)


class WireKey(NamedTuple):
    """Source, destination and IP protocol number."""

    src: str
    dst: str
    protocol: int


@dataclass(frozen=True, slots=True)
class DeviceCounters:
    """Counters of a device; bytes include the Ethernet header of each packet."""

    rx_bytes: int
    rx_packets: int
    tx_bytes: int
    tx_packets: int
    tx_dropped: int

    @property
    def tx_wire(self) -> Counts:
        """Packets and L3 bytes sent."""
        return Counts(self.tx_packets, self.tx_bytes - ETHERNET_HEADER * self.tx_packets)

    def since(self, before: "DeviceCounters") -> "DeviceCounters":
        """The difference to ``before``."""
        return DeviceCounters(
            self.rx_bytes - before.rx_bytes,
            self.rx_packets - before.rx_packets,
            self.tx_bytes - before.tx_bytes,
            self.tx_packets - before.tx_packets,
            self.tx_dropped - before.tx_dropped,
        )


def device_counters(namespace: str, device: str) -> DeviceCounters:
    """The counters of one device of a namespace."""
    [link] = _json(["ip", "-n", namespace, "-j", "-s", "link", "show", "dev", device])
    rx, tx = link["stats64"]["rx"], link["stats64"]["tx"]
    return DeviceCounters(
        rx_bytes=rx["bytes"],
        rx_packets=rx["packets"],
        tx_bytes=tx["bytes"],
        tx_packets=tx["packets"],
        tx_dropped=tx["dropped"],
    )


def install(namespace: str) -> None:
    """Start counting in the fabric; UnsupportedError without nftables."""
    try:
        run(["ip", "netns", "exec", namespace, "nft", "-f", "-"], RULES)
    except KznError as error:
        raise UnsupportedError(
            f"install the lab's wire counters: {error}",
            hint="install nftables; the kernel needs CONFIG_NF_TABLES with IPv4 and IPv6",
        ) from error


def carried(namespace: str) -> dict[WireKey, Counts]:
    """Packets and L3 bytes that reached the fabric, by source, destination and protocol."""
    found = {}
    for value, counts in _elements(namespace, "carried"):
        src, dst, protocol = value["concat"]
        found[WireKey(src, dst, int(protocol))] = counts
    return found


def carried_by(namespace: str, device: str) -> Counts:
    """Packets and L3 bytes, multicast included, that reached the fabric on one of its devices."""
    total = Counts()
    for value, counts in _elements(namespace, "uplinks"):
        if value == device:
            total = total.plus(counts)
    return total


def _elements(namespace: str, name: str) -> Iterator[tuple[Any, Counts]]:
    for family in ("ip", "ip6"):
        command = ["ip", "netns", "exec", namespace, "nft", "-j", "--numeric-protocol"]
        command += ["list", "set", family, "wire"]
        answer = _json([*command, name])
        [listed] = [part["set"] for part in answer["nftables"] if "set" in part]
        for row in listed.get("elem", []):
            counter = row["elem"]["counter"]
            yield row["elem"]["val"], Counts(counter["packets"], counter["bytes"])


def _json(command: list[str]) -> Any:
    return json.loads(run(command))


def run(command: list[str], text: str = "") -> str:
    """Run a program and return its stdout; KznError with its stderr if it fails."""
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KznError(f"{' '.join(command)}: {error}") from error
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise KznError(f"{' '.join(command)}: {words[0]}")
    return done.stdout
