"""kube-proxy in IPVS mode: a Service's packets between a pod and its backend on another node."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cluster import cluster, index_of
from counting import Counted, attached, tell_devices
from layouts import WAIT, configure, lacks
from programs import Programs
from test_cluster_networks import pour

from kzn.agent.maps.spool import Spool
from kzn.lab import namespaces
from kzn.lab.lab import Lab
from kzn.lab.witness import WireKey
from kzn.model.ip import pack
from kzn.model.totals import Counts
from kzn.probes import postrouting
from kzn.probes.declaration import Probe
from kzn.server.resolve.resolve import resolve
from kzn.server.resolve.verdict import TRANSIT
from kzn.topology.facts import ServiceFacts

SERVICE, UDP_PORT, TCP_PORT = "10.96.0.10", 5301, 5401
"""The ports are those of the Service and of the pod behind it."""
BULK = 500_000
BALANCER = "8.8.4.4"
"""A public address of the Service's load balancer, which IPVS translates on each node as well."""
FACTS = {
    SERVICE: ServiceFacts("s", "d", "api", (pack(SERVICE),)),
    BALANCER: ServiceFacts(
        "s", "d", "api", outer_addresses=(pack(BALANCER),), captured_addresses=(pack(BALANCER),)
    ),
}


@contextmanager
def service(lab: Lab, address: str = SERVICE) -> Iterator[None]:
    """The Service's address on a dummy of a1, and one backend, pod b1-p1, behind it."""
    a1, backend = lab.node("a1").namespace, lab.pod("b1-p1").ipv4
    configure(
        lab,
        "IPVS",
        a1,
        ["link add kube-ipvs0 type dummy", f"addr add {address}/32 dev kube-ipvs0"],
    )
    try:
        for flag, port in (("-u", UDP_PORT), ("-t", TCP_PORT)):
            _ipvs(lab, "-A", flag, f"{address}:{port}", "-s", "rr")
            _ipvs(lab, "-a", flag, f"{address}:{port}", "-r", f"{backend}:{port}", "-m")
        with namespaces.inside(a1):
            Path("/proc/sys/net/ipv4/vs/conntrack").write_text("1")
        yield
    finally:
        lab.run(a1, ["ipvsadm", "-C"])
        lab.run(a1, ["ip", "link", "del", "kube-ipvs0"])


def _ipvs(lab: Lab, *words: str) -> None:
    done = lab.run(lab.node("a1").namespace, ["ipvsadm", *words])
    if done.returncode:
        lacks("IPVS", done.stderr + done.stdout)
        raise AssertionError(done.stderr)


def ask(lab: Lab, address: str = SERVICE) -> None:
    """Twenty datagrams of 1,000 bytes to the Service, each answered by 500 bytes; then a stream."""
    p, q = lab.pod("a1-p1"), lab.pod("b1-p1")
    with namespaces.inside(p.namespace):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with namespaces.inside(q.namespace):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client, server:
        client.settimeout(WAIT)
        server.settimeout(WAIT)
        server.bind((q.ipv4, UDP_PORT))
        for _ in range(20):
            client.sendto(bytes(1000), (address, UDP_PORT))
            server.sendto(bytes(500), server.recvfrom(2000)[1])
            assert client.recvfrom(2000)[1][0] == address
    pour(p.namespace, q.namespace, (address, TCP_PORT), BULK, at=(q.ipv4, TCP_PORT))


def test_a_service_of_ipvs_is_counted_between_the_pods_on_both_nodes(
    lab: Lab, programs: Programs, record_property: Callable[[str, object], None]
) -> None:
    p, q = lab.pod("a1-p1"), lab.pod("b1-p1")
    row: dict[str, object] = {"device": "Service by IPVS"}
    record_property("cell", row)
    there, back = (WireKey(p.ipv4, q.ipv4, 17), WireKey(q.ipv4, p.ipv4, 17))
    streams = (WireKey(p.ipv4, q.ipv4, 6), WireKey(q.ipv4, p.ipv4, 6))
    with service(lab), ExitStack() as stack:
        at_a1 = stack.enter_context(programs.every_probe(lab, lab.node("a1")))
        at_b1 = stack.enter_context(programs.every_probe(lab, lab.node("b1")))
        before = [lab.uplink_counters(lab.node(name)) for name in ("a1", "b1")]
        ask(lab)
        sent = [
            lab.uplink_counters(lab.node(name)).since(was).tx_wire
            for name, was in zip(("a1", "b1"), before, strict=True)
        ]
        counted = {
            probe: [one[probe].drain().by_key() for one in (at_a1, at_b1)] for probe in at_a1
        }
    datagrams = (Counts(20, 20 * 1028), Counts(20, 20 * 528))
    wire = [
        {key: sizes, stream: Counts(total.packets - 20, total.bytes - sizes.bytes)}
        for key, stream, sizes, total in zip((there, back), streams, datagrams, sent, strict=True)
    ]
    assert counted == dict.fromkeys(counted, wire)
    row |= dict.fromkeys(counted, "exact")


@pytest.mark.parametrize("address", [SERVICE, BALANCER])
@pytest.mark.parametrize("probe", [postrouting.PROBE], ids=lambda probe: probe.name)
def test_answers_that_ipvs_translated_before_the_hook_are_transit_on_the_clients_node(
    lab: Lab, probe: Probe, address: str
) -> None:
    """With `--uplink all` they are flows of the Service's address, which the server settles."""
    node, p, q = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    with service(lab, address), attached(node, probe=probe) as maps:
        tell_devices(maps, node, skip_inbound=False)
        counted = Counted(Spool(maps))
        ask(lab, address)
        [batch] = counted.drain().batches
    answers = counted.by_key()[WireKey(address, p.ipv4, 17)]
    assert answers == Counts(20, 20 * 528)
    index = index_of(
        cluster("a1 a r\nb1 b r", f"d/client a1 {p.ipv4}\nd/backend b1 {q.ipv4}"),
        agents=("a1", "b1"),
    )
    index.networks.put_service(FACTS[address])
    found = resolve(batch.flows, "a1", index, 0.0, 0.0)
    back = sum(row.counts.bytes for row in counted.rows if row.src == address)
    assert sum(int(size[TRANSIT]) for size in found.by_verdict(batch.flows.bytes)) == back
