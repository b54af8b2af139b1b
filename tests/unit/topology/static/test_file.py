"""kzn/topology/static/file.py, and kzn/yaml_files.py by its errors."""

import asyncio
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.errors import EXIT_USAGE, UsageError
from kzn.model.endpoint import EXTERNAL, NODE, POD, STATIC, UNKNOWN
from kzn.model.ip import pack
from kzn.topology.index import AddressIndex
from kzn.topology.static.file import load_static, parse_static
from kzn.topology.static.source import StaticSource

GOOD = """\
nodes:
  - name: node-a
    zone: zone-a
    region: r1
    addresses: [192.0.2.1, "2001:db8::1"]
  - name: node-b
pods:
  - namespace: shop
    name: web-0
    node: node-a
    addresses: [10.1.0.2, fd00::2]
    workload: web
    workload_kind: StatefulSet
  - {namespace: shop, name: bare, node: node-b, addresses: [10.1.0.3]}
networks:
  - name: vpc
    kind: Subnet
    cidr: 10.0.0.0/8
  - name: db
    kind: Database
    cidrs: [10.9.0.0/24, 2a00:1450::/32]
    zone: zone-b
    region: r1
"""


PRICED = """\
nodes:
  - {name: n1, zone: a, addresses: [192.0.2.1], provider: aws, price: peering}
pods:
  - {namespace: shop, name: web, node: n1, addresses: [10.1.0.2], price: public-address}
  - {namespace: shop, name: bare, node: n1, addresses: [10.1.0.3]}
networks:
  - {name: db, kind: Database, cidr: 10.9.0.0/24, price: managed-database}
"""


def test_an_entry_has_its_provider_and_price_class_in_the_index() -> None:
    index = AddressIndex(clock=lambda: 1000.0, wall=lambda: 1.7e9)
    StaticSource(index, parse_static("f", PRICED))

    def found(address: str) -> tuple[str, str]:
        asked = np.frombuffer(pack(address), np.uint8).reshape(1, 16)
        endpoint = index.endpoint(int(index.lookup(asked, 0.0, 10.0)[0]))
        return endpoint.provider, endpoint.price_class

    assert found("192.0.2.1") == ("aws", "peering")
    assert found("10.1.0.2") == ("aws", "public-address")
    assert found("10.1.0.3") == ("aws", "")
    assert found("10.9.0.1") == ("", "managed-database")


def test_a_file_that_is_read_again_changes_the_price_class() -> None:
    index = AddressIndex(clock=lambda: 1000.0, wall=lambda: 1.7e9)
    source = StaticSource(index, parse_static("f", PRICED))
    changed = PRICED.replace("managed-database", "free").replace("price: public-address", "")
    source._use(parse_static("f", changed.replace(", }", "}")))
    asked = np.frombuffer(pack("10.9.0.1") + pack("10.1.0.2"), np.uint8).reshape(2, 16)
    ids = index.lookup(asked, 0.0, 10.0).tolist()
    assert [index.endpoint(one).price_class for one in ids] == ["free", ""]


def test_a_file_is_read_and_found_in_the_index(tmp_path: Path) -> None:
    path = tmp_path / "topology.yaml"
    path.write_text(GOOD)
    index = AddressIndex(clock=lambda: 1000.0, wall=lambda: 1.7e9)
    source = StaticSource(index, load_static(path))
    assert source.ready
    asyncio.run(source.run())

    def found(address: str) -> tuple[str, str, str, str]:
        asked = np.frombuffer(pack(address), np.uint8).reshape(1, 16)
        endpoint = index.endpoint(int(index.lookup(asked, 0.0, 10.0)[0]))
        return endpoint.kind, endpoint.name, endpoint.workload_kind, endpoint.zone

    assert found("192.0.2.1") == found("2001:db8::1") == (NODE, "node-a", "Node", "zone-a")
    assert found("10.1.0.2") == found("fd00::2") == (POD, "web-0", "StatefulSet", "zone-a")
    assert found("10.1.0.3") == (POD, "bare", "Pod", "")
    assert found("10.9.0.7") == found("2a00:1450::7") == (STATIC, "db", "Database", "zone-b")
    assert found("10.200.0.1") == (STATIC, "vpc", "Subnet", "")
    counts = source.stats().counts
    assert (counts.nodes, counts.pods, counts.networks, counts.addresses) == (2, 2, 2, 5)
    others = np.frombuffer(pack("8.8.8.8") + pack("fd00::99"), np.uint8).reshape(2, 16)
    assert index.lookup(others, 0.0, 10.0).tolist() == [EXTERNAL, UNKNOWN]


def swap(old: str, new: str) -> Callable[[], str]:
    assert old in GOOD
    return lambda: GOOD.replace(old, new, 1)


MISTAKES = [
    (lambda: "", 1, "nothing, expected nodes, pods or networks"),
    (lambda: "- a\n", 1, "a list, expected the file as a mapping"),
    (lambda: "nodes: [\n", 2, "expected YAML"),
    (lambda: "a: 1\n---\nb: 2\n", 2, "expected YAML"),
    (lambda: "\nnodes: yes\n", 2, '"yes", expected nodes as a list'),
    (lambda: "\nnodes:\n", 2, "nothing, expected nodes as a list"),
    (lambda: "nodes:\n  - web\n", 2, '"web", expected a node as a mapping'),
    (swap("zone: zone-a", "zon: zone-a"), 3, 'unknown key "zon" in a node, expected one of'),
    (swap("  - name: node-a", "  - nam: node-a"), 2, 'unknown key "nam" in a node'),
    (swap("    kind: Subnet\n", ""), 16, 'a network without "kind", expected the key "kind"'),
    (swap("    zone: zone-a\n", "    zone: a\n    zone: b\n"), 4, 'key "zone" twice in a node'),
    (swap("zone: zone-a", "zone: [a]"), 3, "a list, expected the text of zone"),
    (swap("zone: zone-a", "zone: "), 3, "nothing, expected the text of zone"),
    (swap("node-b\npods", "node-a\npods"), 6, 'node "node-a" twice, expected each node once'),
    (swap("192.0.2.1", "192.0.2.256"), 5, '"192.0.2.256", expected an IPv4 or IPv6 address'),
    (swap("[10.1.0.2, fd00::2]", "10.1.0.2"), 11, '"10.1.0.2", expected addresses as a list'),
    (swap("[10.1.0.2, fd00::2]", "[]"), 11, "no addresses, expected at least one"),
    (swap("[10.1.0.3]", "[10.1.0.2]"), 14, "10.1.0.2 belongs to pod shop/web-0 already"),
    (swap("[10.1.0.3]", "[192.0.2.1]"), 14, "192.0.2.1 belongs to node node-a already"),
    (swap("fd00::2]", "10.1.0.2]"), 11, "10.1.0.2 belongs to pod shop/web-0 already"),
    (swap("node: node-a", "node: node-c"), 10, 'node "node-c" is not declared'),
    (swap("name: bare", "name: web-0"), 14, 'pod "shop/web-0" twice'),
    (swap("10.0.0.0/8", "10.0.0.1/8"), 18, '"10.0.0.1/8", expected 10.0.0.0/8'),
    (swap("10.0.0.0/8", "ten"), 18, '"ten", expected a network such as'),
    (swap("10.0.0.0/8", "10.9.0.0/24"), 21, "10.9.0.0/24 belongs to network vpc already"),
    (swap("    cidr: 10.0.0.0/8\n", ""), 16, "a network with no CIDR, expected exactly one of"),
    (swap("cidr: 10.0.0.0/8", "cidr: 10.0.0.0/8\n    cidrs: []"), 16, "a network with both"),
    (swap("[10.9.0.0/24, 2a00:1450::/32]", "[]"), 21, "no CIDRs, expected at least one"),
    (swap("name: db", "name: vpc"), 19, 'network "vpc" twice'),
]


@pytest.mark.parametrize(("content", "line", "message"), MISTAKES)
def test_a_mistake_names_file_line_and_what_was_expected(
    content: Callable[[], str], line: int, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_static("topology.yaml", content())
    text = str(caught.value)
    assert text.startswith(f"topology.yaml:{line}: ")
    assert message in text
    assert caught.value.exit_code == EXIT_USAGE


def test_an_unreadable_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: No such file or directory"):
        load_static(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="Is a directory"):
        load_static(tmp_path)
    path = tmp_path / "latin1.yaml"
    path.write_bytes(b"nodes:\n  - name: \xe9\n")
    with pytest.raises(UsageError, match=r"latin1\.yaml:2: bytes that are not UTF-8"):
        load_static(path)


def test_values_stay_text_even_where_yaml_has_implicit_types() -> None:
    topology = parse_static("f", "nodes: [{name: 1.0, zone: on, region: 007}]")
    node = topology.nodes[0]
    assert (node.name, node.zone, node.region) == ("1.0", "on", "007")


@pytest.mark.parametrize("half", [r"\ud800", r"\udfff", r"x\udc00\ud800"])
@pytest.mark.parametrize(
    "content",
    [
        'nodes:\n  - name: "%s"',
        'nodes:\n  - {name: a,\n     zone: "%s"}',
        'networks:\n  - {name: "%s", kind: DB, cidr: 10.0.0.9}',
        'networks:\n  - {name: x, kind: DB,\n     "%s": 10.0.0.9}',
    ],
)
def test_half_of_a_surrogate_pair_is_a_mistake_with_its_line(content: str, half: str) -> None:
    line = content[: content.index("%s")].count("\n") + 1
    with pytest.raises(UsageError, match=rf"^f:{line}: .*surrogate") as caught:
        parse_static("f", content % half)
    assert caught.value.message.isascii()


def test_a_character_may_be_written_as_a_surrogate_pair() -> None:
    node = parse_static("f", r'nodes: [{name: "\ud83d\ude80", zone: "zone-\u00e9"}]').nodes[0]
    assert (node.name, node.zone) == ("\U0001f680", "zone-\u00e9")


def test_a_single_address_is_a_network() -> None:
    topology = parse_static("f", "networks: [{name: lb, kind: LoadBalancer, cidr: 10.0.0.9}]")
    assert topology.networks[0].cidrs == (ip_network("10.0.0.9/32"),)


def test_a_recursive_alias_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"^f:1: "):
        parse_static("f", "nodes: &a [*a]")


def error_of(content: str) -> str:
    try:
        parse_static("f", content)
    except UsageError as error:
        return str(error)
    return "none"


@given(st.text())
def test_any_text_is_read_or_rejected_with_a_line(content: str) -> None:
    assert error_of(content).startswith(("f:", "none"))


@given(st.binary(max_size=40), st.integers(0, len(GOOD)), st.integers(0, 40))
def test_a_damaged_file_is_read_or_rejected_with_a_line(junk: bytes, at: int, cut: int) -> None:
    content = GOOD[:at] + junk.decode("latin-1") + GOOD[at + cut :]
    assert error_of(content).startswith(("f:", "none"))


@pytest.mark.parametrize("written", ["gce", "GCP", "gcp", "gce://p/z/n"])
def test_the_provider_of_a_node_is_spelled_as_in_price_lists(written: str) -> None:
    found = parse_static("f", f"nodes: [{{name: n, provider: '{written}'}}]")
    assert [node.provider for node in found.nodes] == ["gcp"]


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x7f", "\ufffe"])
def test_a_character_that_no_text_has_is_refused_with_its_line(character: str) -> None:
    with pytest.raises(UsageError, match=rf"^f:2: the character U\+{ord(character):04X}"):
        parse_static("f", f"nodes:\n  - name: a{character}\n")


def test_a_character_in_two_escapes_is_read_as_json_writes_it() -> None:
    found = parse_static("f", 'nodes: [{name: "\\ud83d\\ude00"}, {name: b}]')
    assert [node.name for node in found.nodes] == ["\U0001f600", "b"]


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "? " * 100_000])
def test_what_is_nested_without_end_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^f:1: "):
        parse_static("f", text)
