"""The probe `marked` counts marked packets to the byte, and sees no others."""

import os

import pytest
from kzn_probe_marked import PROBE

from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.spool import Spool
from kzn.agent.pins.install import unpinned
from kzn.errors import UnsupportedError
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.lab.traffic import Family
from kzn.libbpf.testrun import run_netfilter
from kzn.model.totals import Counts
from kzn.probes import layout, support
from kzn.probes.attach import MAPS, load
from kzn.probes.settings import Settings

ACCEPT = 1
RULES = """
table inet count {
  chain choose {
    type filter hook postrouting priority 0
    udp dport 5300 meta mark set meta mark or 0x1000
  }
}
"""
FRAMES = {
    4: bytes(12) + b"\x08\x00" + b"\x45" + bytes(8) + b"\x11" + bytes(30),
    6: bytes(12) + b"\x86\xdd" + b"\x60" + bytes(5) + b"\x11" + bytes(53),
}


@pytest.fixture(autouse=True)
def supported() -> None:
    """Skip, with the reason, where this machine cannot load the probe."""
    try:
        support.require(PROBE)
    except UnsupportedError as error:
        pytest.skip(f"{error}: {error.hint}")


def test_the_object_fits_the_installed_kzn() -> None:
    layout.check(PROBE, PROBE.image())


@pytest.mark.parametrize("family", [4, 6])
def test_a_packet_without_the_mark_is_accepted_and_not_seen(family: int) -> None:
    with load(PROBE, Settings()) as loaded:
        program = loaded.program_fd(f"marked_ipv{family}")
        verdict, _ = run_netfilter(program, FRAMES[family], family=family)
        with MapSet({name: os.dup(loaded.map_fd(name)) for name in MAPS}) as maps:
            seen = Spool(maps).cut().totals.seen
    assert (verdict, seen) == (ACCEPT, Counts())


@pytest.mark.parametrize("family", [4, 6])
def test_of_two_flows_the_marked_one_is_counted(family: Family) -> None:
    with Lab(os.environ.get("KZN_LAB_PREFIX", "kznmarked")) as lab:
        node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
        done = lab.run(node.namespace, ["nft", RULES])
        assert done.returncode == 0, done.stderr
        with namespaces.inside(node.namespace), unpinned(PROBE, Settings()) as maps:
            for port in (5300, 5301):
                [sent] = traffic.udp(a, b, family, datagrams=9, size=300, mtu=1500, port=port)
            batch = Spool(maps).cut()
    assert batch.totals.seen == sent.wire  # both datagrams have the same size
    assert batch.flows.dst_port.tolist() == [5300]
