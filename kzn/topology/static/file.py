"""The static topology: a YAML file of nodes, pods and networks, alone or beside Kubernetes.

::

    nodes:                          # all three lists may be absent
      - name: node-a                # required; the value of the agent's --node
        zone: zone-a
        region: region-1
        addresses: [192.0.2.1, 2001:db8::1]
        provider: aws               # whose price list applies, or the scheme of spec.providerID
    pods:
      - namespace: shop             # required
        name: web-0                 # required
        node: node-a                # required; a node of this file
        addresses: [10.1.0.2]       # required, at least one
        workload: web               # the pod's name unless given
        workload_kind: StatefulSet  # Pod unless given
        group: checkout             # the team of its workload: docs/money.md
    networks:                       # the longest prefix wins; pods and nodes win over networks
      - name: orders-db             # required
        kind: Database              # required, any word; becomes the workload_kind
        cidr: 10.9.0.0/24           # or cidrs: [...], one of them required
        zone: zone-b
        region: region-1
        price: managed-database     # nodes and pods, too: a price class of the price lists

In: the file. Out: a `StaticTopology`, or UsageError "FILE:LINE: what was found, expected what".
Never: an index; source.py puts it into one.
"""

from dataclasses import dataclass, fields
from math import inf
from pathlib import Path

from kzn.errors import UsageError
from kzn.model.ip import text
from kzn.model.provider import spelled
from kzn.topology.facts import (
    CidrNetwork,
    Network,
    NodeFacts,
    PodFacts,
    PodWithPrice,
    Workload,
)
from kzn.yaml_files import Value, each, parse, read_text

_HINT = "`python3 -m pydoc kzn.topology.static.file` shows the format"


@dataclass(frozen=True, slots=True)
class StaticTopology:
    """The contents of a static file; each pod with its workload."""

    nodes: tuple[NodeFacts, ...] = ()
    pods: tuple[tuple[PodFacts, Workload], ...] = ()
    networks: tuple[Network, ...] = ()


def load_static(path: str | Path) -> StaticTopology:
    """Read and check a static topology file; UsageError for the first mistake."""
    return parse_static(str(path), read_text(path, "topology file"))


def parse_static(file: str, content: str) -> StaticTopology:
    """Check the ``content`` of a static topology file; ``file`` names it in errors."""
    root = parse(file, content, _HINT)
    if root is None:
        raise UsageError(f"{file}:1: nothing, expected nodes, pods or networks")
    return _Reader().read(root)


class _Reader:
    def __init__(self) -> None:
        self._nodes: dict[str, NodeFacts] = {}
        self._pods: dict[tuple[str, str], tuple[PodFacts, Workload]] = {}
        self._networks: dict[str, Network] = {}
        self._owners: dict[bytes | CidrNetwork, str] = {}

    def read(self, root: Value) -> StaticTopology:
        top = root.mapping("the file", set(), {"nodes", "pods", "networks"})
        each(top.get("nodes"), "nodes", self._node)
        each(top.get("pods"), "pods", self._pod)
        each(top.get("networks"), "networks", self._network)
        return StaticTopology(
            nodes=tuple(self._nodes.values()),
            pods=tuple(self._pods.values()),
            networks=tuple(self._networks.values()),
        )

    def _node(self, item: Value) -> None:
        entry = item.mapping("a node", {"name"}, _NODE_KEYS)
        name = entry["name"].text("the name of a node")
        if name in self._nodes:
            entry["name"].fail(f'node "{name}" twice', "each node once")
        self._nodes[name] = NodeFacts(
            uid=f"static:{name}",
            name=name,
            zone=_text(entry, "zone"),
            region=_text(entry, "region"),
            addresses=self._addresses(entry.get("addresses"), f"node {name}"),
            started=-inf,
            provider=spelled(_text(entry, "provider")),
            price_class=_text(entry, "price"),
        )

    def _pod(self, item: Value) -> None:
        required = {"namespace", "name", "node", "addresses"}
        entry = item.mapping("a pod", required, _POD_KEYS)
        namespace, name = _text(entry, "namespace"), _text(entry, "name")
        node = _text(entry, "node")
        if (namespace, name) in self._pods:
            entry["name"].fail(f'pod "{namespace}/{name}" twice', "each pod once")
        if node not in self._nodes:
            known = ", ".join(sorted(self._nodes)[:10]) or "none is declared"
            entry["node"].fail(f'node "{node}" is not declared', f"a name under nodes ({known})")
        addresses = self._addresses(entry["addresses"], f"pod {namespace}/{name}")
        if not addresses:
            entry["addresses"].fail("no addresses", "at least one address of the pod")
        pod = PodFacts(
            uid=f"static:{namespace}/{name}",
            namespace=namespace,
            name=name,
            node=node,
            addresses=addresses,
            started=-inf,
            groups=(_text(entry, "group"),) if "group" in entry else (),
        )
        if "price" in entry:
            values = {field.name: getattr(pod, field.name) for field in fields(PodFacts)}
            pod = PodWithPrice(**values, priced_as=_text(entry, "price"))
        kind = _text(entry, "workload_kind") or "Pod"
        self._pods[namespace, name] = (pod, Workload(kind, _text(entry, "workload") or name))

    def _network(self, item: Value) -> None:
        entry = item.mapping("a network", {"name", "kind"}, _NETWORK_KEYS)
        if ("cidr" in entry) == ("cidrs" in entry):
            item.fail("a network with " + ("both" if "cidr" in entry else "no CIDR"), _ONE_OF)
        name = _text(entry, "name")
        if name in self._networks:
            entry["name"].fail(f'network "{name}" twice', "each network once, with its cidrs")
        values = [entry["cidr"]] if "cidr" in entry else list(entry["cidrs"].items("cidrs"))
        if not values:
            entry["cidrs"].fail("no CIDRs", "at least one")
        self._networks[name] = Network(
            name=name,
            kind=_text(entry, "kind"),
            cidrs=tuple(self._cidr(value, f"network {name}") for value in values),
            zone=_text(entry, "zone"),
            region=_text(entry, "region"),
            price_class=_text(entry, "price"),
        )

    def _addresses(self, value: Value | None, owner: str) -> tuple[bytes, ...]:
        found: list[bytes] = []
        for item in value.items("addresses") if value is not None else ():
            address = item.address()
            self._claim(item, address, text(address), owner)
            found.append(address)
        return tuple(found)

    def _cidr(self, value: Value, owner: str) -> CidrNetwork:
        cidr = value.network()
        self._claim(value, cidr, str(cidr), owner)
        return cidr

    def _claim(self, value: Value, thing: bytes | CidrNetwork, shown: str, owner: str) -> None:
        if thing in self._owners:
            other = self._owners[thing]
            value.fail(f"{shown} belongs to {other} already", "each address and CIDR once")
        self._owners[thing] = owner


_NODE_KEYS = {"zone", "region", "addresses", "provider", "price"}
_POD_KEYS = {"workload", "workload_kind", "price", "group"}
_NETWORK_KEYS = {"cidr", "cidrs", "zone", "region", "price"}
_ONE_OF = "exactly one of cidr and cidrs"


def _text(entry: dict[str, Value], key: str) -> str:
    return entry[key].text(f"the text of {key}") if key in entry else ""
