"""Device counters by netlink equal those in /proc/net/dev."""

import socket
from pathlib import Path

import pytest

from kzn.agent.devices.link_stats import LinkStats, Sent, parse_sent
from kzn.errors import KernelError


def of_proc(name: str) -> Sent:
    """Packets and bytes sent, from /proc/net/dev."""
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    [line] = [line for line in lines if line.strip().startswith(f"{name}:")]
    columns = line.partition(":")[2].split()
    return Sent(int(columns[9]), int(columns[8]))


def test_the_loopback_device_has_sent_what_proc_net_dev_shows() -> None:
    index = socket.if_nametoindex("lo")
    with LinkStats() as counters, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.sendto(bytes(1000), sock.getsockname())
        before = of_proc("lo")
        found = counters.sent([index])[index]
        after = of_proc("lo")
    assert before.packets <= found.packets <= after.packets
    assert before.bytes <= found.bytes <= after.bytes
    assert found.packets > 0


def test_a_missing_device_is_left_out() -> None:
    lo = socket.if_nametoindex("lo")
    with LinkStats() as counters:
        assert counters.sent([lo, 0x7FFFFFF0, lo]).keys() == {lo}


def test_a_closed_socket_is_a_kernel_error() -> None:
    with LinkStats() as counters:
        pass
    with pytest.raises(KernelError, match="ask netlink for counters of device 1: Bad file"):
        counters.sent([1])


@pytest.mark.parametrize("text", [b"", b"\0", bytes(4), bytes(40), b"\x08\0\x01\0\0\0\0\0"])
def test_attributes_without_counters_are_none(text: bytes) -> None:
    assert parse_sent(text) is None
