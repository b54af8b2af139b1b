"""SCTP in bulk: super-packets of its own kind (GSO_BY_FRAGS), both ways, to the byte."""

import socket
import threading
from collections.abc import Callable

import pytest
from counting import difference
from layouts import WAIT
from programs import Programs
from test_wire_bytes import super_packets

from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.lab.traffic import Family
from kzn.lab.witness import WireKey

FAMILIES: tuple[Family, Family] = (4, 6)
TOTAL, WRITE = 500_000, 20_000
PORT = 5600


def test_sctp_bulk_is_counted_in_chunks_of_the_wire(
    lab: Lab, programs: Programs, record_property: Callable[[str, object], None]
) -> None:
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    row: dict[str, object] = {"device": "SCTP"}
    record_property("cell", row)
    with programs.every_probe(lab, node) as counts, super_packets(node) as lengths:
        before = lab.carried()
        keys = set()
        for family in FAMILIES:
            here, there = traffic.addresses(a, b, family)
            stream(a.namespace, b.namespace, there, family)
            keys.add(WireKey(here, there, socket.IPPROTO_SCTP))
        counted = {
            probe: {key: sums for key, sums in one.drain().by_key().items() if key in keys}
            for probe, one in counts.items()
        }
        carried = difference(before, lab.carried())
        longest = max(lengths())
    wire = {key: carried[key] for key in keys}
    assert counted == dict.fromkeys(counted, wire)
    assert all(sums.bytes > TOTAL for sums in wire.values())
    assert longest > 2 * 1500, "no packet was to be segmented: nothing was proved"
    row |= dict.fromkeys(counted, "exact")


def stream(sender: str, receiver: str, there: str, family: Family) -> None:
    """Send `TOTAL` bytes on one association, to its end."""
    listener, client = (_socket(space, family) for space in (receiver, sender))
    with listener, client:
        listener.bind((there, PORT))
        listener.listen()
        client.connect((there, PORT))
        server, _ = listener.accept()
        server.settimeout(WAIT)

        def feed() -> None:
            left = TOTAL
            while left:
                left -= client.send(bytes(min(WRITE, left)))

        with server:
            feeding = threading.Thread(target=feed)
            feeding.start()
            left = TOTAL
            while left:
                left -= len(server.recv(65536))
            feeding.join(WAIT)
            client.shutdown(socket.SHUT_RDWR)


def _socket(namespace: str, family: Family) -> socket.socket:
    try:
        with namespaces.inside(namespace):
            made = socket.socket(traffic.AF[family], socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    except OSError as error:
        pytest.xfail(f"this kernel has no SCTP: {error.strerror}")
    made.settimeout(WAIT)
    return made
