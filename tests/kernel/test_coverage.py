"""Coverage on real packets: what the hook saw leave equals the uplinks' counters."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from counting import attached, device, tell_devices
from overlay import vxlan

from kzn.agent.coverage.hook_coverage import Meter, Passed
from kzn.agent.devices.link_stats import LinkStats
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.lab.traffic import Family
from kzn.probes import clsact, postrouting, tcx
from kzn.probes.declaration import Probe

PROBES = (postrouting.PROBE, tcx.PROBE, clsact.PROBE)
FAMILIES: tuple[Family, Family] = (4, 6)
probes = pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
families = pytest.mark.parametrize("family", FAMILIES)


@contextmanager
def measured(lab: Lab, probe: Probe) -> Iterator[Callable[[], Passed]]:
    """Attach the probe with known uplinks; yields a function: the traffic since its last call."""
    node = lab.node("a1")
    with attached(node, probe=probe) as maps, namespaces.inside(node.namespace):
        uplink = device(node.uplink)
        with LinkStats() as counters:
            tell_devices(maps, node, skip_inbound=False)
            meter = Meter(maps, counters)
            meter.measure((uplink,))
            yield meter.take


@probes
@families
def test_every_byte_of_all_kinds_of_traffic_that_left_was_seen(
    lab: Lab, probe: Probe, family: Family
) -> None:
    a, b, c = lab.pod("a1-p1"), lab.pod("b1-p1"), lab.pod("a1-p2")
    with measured(lab, probe) as passed:
        traffic.udp(a, b, family, datagrams=40, size=4000, mtu=1500)
        traffic.tcp_calls(b, c, family, calls=20, ask=40_000, answer=40_000)
        traffic.tcp_bulk(b, a, family, size=4_000_000)
        traffic.tcp_bulk(a, b, family, size=4_000_000)
        traffic.echo(a, b, family, requests=50, size=56, mtu=1500)
        traffic.udp(a, c, family, datagrams=40, size=1000, mtu=1500)
        found = passed()
    assert found.sent > 5_000_000
    assert found.seen == found.sent


@probes
def test_an_encapsulated_packet_is_seen_once(lab: Lab, probe: Probe) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    with vxlan(lab), measured(lab, probe) as passed:
        traffic.udp(a, b, 4, datagrams=200, size=1000, mtu=1400)
        traffic.tcp_calls(a, b, 4, calls=20, ask=4000, answer=4000)
        found = passed()
    assert found.sent > 200_000
    assert found.seen == found.sent


@probes
@families
def test_the_counters_of_a_device_count_a_gso_super_packet_unsegmented(
    make_lab: Callable[..., Lab], probe: Probe, family: Family
) -> None:
    """As veth and some drivers do: then what was seen is more than what was sent, by headers."""
    lab = make_lab(pods_per_node=1)
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    lab.configure(node.namespace, [f"link set {node.uplink} gso_max_segs 65535"])
    with measured(lab, probe) as passed:
        traffic.tcp_bulk(a, b, family, size=64_000_000)
        found = passed()
    ratio = found.seen / found.sent
    assert 1.02 < ratio < 1.06, ratio
