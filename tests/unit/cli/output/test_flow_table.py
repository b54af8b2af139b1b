"""kzn.cli.output.flow_table in every width: no address is wrapped, the rest is counted."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from snapshots import Key, buffer, snapshot

from kzn.agent.inspect.rows import Rates, ordered
from kzn.agent.inspect.snapshot import Snapshot
from kzn.cli.output.flow_table import Page, section
from kzn.client.api import AddressOwner
from kzn.model.flows import ENCRYPTED
from kzn.model.totals import Counts

WEB = Key("10.1.0.7", "10.2.0.9", 443)
LONG = Key(
    "fd6b:7a6e:1111:2222:3333:4444:5555:6666", "fd6b:7a6e:7777:8888:9999:aaaa:bbbb:cccc", 5300, 17
)
OWNERS = {
    "10.1.0.7": AddressOwner(
        "10.1.0.7", "pod", "shop", "web-1", "Deployment", "web", zone="zone-a"
    ),
    "10.2.0.9": AddressOwner("10.2.0.9", "external"),
}


def shown(
    taken: Snapshot,
    width: int,
    *,
    top: int = 0,
    raw: bool = False,
    owners: dict[str, AddressOwner] | None = None,
) -> list[str]:
    rows = ordered(Rates().rows(taken), "bytes")
    console = Console(width=width, file=io.StringIO(), color_system=None)
    page = Page(rows, of=len(rows) + 1, top=top, raw=raw, owners=owners)
    with console.capture() as capture:
        console.print(section(taken, page, width), soft_wrap=True)
    return [line.rstrip() for line in capture.get().splitlines()]


def both() -> Snapshot:
    flows = {
        WEB: {0: Counts(1, 1500), 1: Counts(2, 3000)},
        LONG: {0: Counts(1_000_000, 1_500_000_000)},
    }
    return snapshot(buffer(0, "active", flows))


def test_a_wide_terminal_shows_every_column() -> None:
    lines = shown(snapshot(buffer(0, "active", {WEB: {0: Counts(3, 4500)}})), 100)
    assert lines == [
        "postrouting: ipv4 at 50; epoch 0000000000000abc",
        "active, 10.0 s, 1 flows in 1/256 rows and 0/100 of the hash: seen 4,500 bytes,"
        " accounted 4,500 (lower port 4,500)",
        "",
        "source    destination  protocol  port  opened by  bytes  packets  bytes/s",
        "10.1.0.7  10.2.0.9     tcp       443              4,500        3      450",
        "1 of 2 flows match the filter",
    ]


def test_a_narrow_terminal_shows_the_destination_below_its_source() -> None:
    lines = shown(both(), 80)
    assert lines[3:8] == [
        "source                                     port          bytes      bytes/s",
        "fd6b:7a6e:1111:2222:3333:4444:5555:6666    5300  1,500,000,000  150,000,000",
        "> fd6b:7a6e:7777:8888:9999:aaaa:bbbb:cccc",
        "10.1.0.7                                   443           4,500          450",
        "> 10.2.0.9",
    ]


@pytest.mark.slow
@given(st.integers(20, 200))
def test_addresses_and_numbers_are_never_wrapped(width: int) -> None:
    text = "\n".join(shown(both(), width))
    for word in (LONG.src, LONG.dst, WEB.src, WEB.dst, "1,500,000,000", "4,500"):
        assert word in text
    if width >= 76:
        assert all(len(line) <= width for line in text.splitlines()[3:])


def test_encrypted_flows_are_marked() -> None:
    key = Key("10.0.1.2", "10.0.2.2", 51820, 17, ENCRYPTED)
    taken = snapshot(buffer(0, "active", {key: {0: Counts(3, 4500)}, WEB: {0: Counts(1, 40)}}))
    assert "10.0.1.2  10.0.2.2     udp encrypted  51820" in shown(taken, 100)[4]


def test_names_and_zones_replace_addresses() -> None:
    lines = shown(snapshot(buffer(0, "active", {WEB: {0: Counts(3, 4500)}})), 100, owners=OWNERS)
    assert lines[3:5] == [
        "source      destination  zones     protocol  port  opened by  bytes  packets  bytes/s",
        "shop/web-1  10.2.0.9     zone-a>?  tcp       443              4,500        3      450",
    ]


def test_raw_entries_follow_the_decoded_ones() -> None:
    lines = shown(both(), 80, raw=True, top=0)
    start = lines.index("10.1.0.7 > 10.2.0.9 tcp port 443")
    assert lines[start:-1] == [
        "10.1.0.7 > 10.2.0.9 tcp port 443",
        "  4,500 bytes, 3 packets",
        "  flows_0 (active)",
        "    src    00000000 00000000 0000ffff 0a010007",
        "    dst    00000000 00000000 0000ffff 0a020009",
        "    rest   bb010600 00000000",
        "    cpu 0  0100000000000000dc05000000000000  1,500 bytes, 1 packets",
        "    cpu 1  0200000000000000b80b000000000000  3,000 bytes, 2 packets",
    ]


def test_rows_left_out_are_counted() -> None:
    assert shown(both(), 200, top=1)[-2:] == [
        "... and 1 more flows (--top 0 shows all)",
        "2 of 3 flows match the filter",
    ]
