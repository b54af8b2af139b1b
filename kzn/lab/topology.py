"""The lab as a static topology file of `kzn server`: nodes, pods and the server."""

from collections.abc import Iterator

from kzn.lab.plan import Plan

NAMESPACE = "demo"
REGION = "lab"
SERVER = "kzn-server"


def topology(plan: Plan, provider: str = "") -> str:
    """The YAML text; the server is a network of the first zone.

    ``provider`` is the cloud whose prices apply to the nodes, empty for none.
    """
    return "\n".join(_lines(plan, provider)) + "\n"


def _lines(plan: Plan, provider: str) -> Iterator[str]:
    yield "nodes:"
    for node in plan.nodes:
        yield f"  - name: {node.name}"
        yield f"    zone: {node.zone}"
        yield f"    region: {REGION}"
        if provider:
            yield f"    provider: {provider}"
        yield f"    addresses: ['{node.ipv4}', '{node.ipv6}']"
    yield "pods:"
    for pod in plan.pods:
        yield f"  - namespace: {NAMESPACE}"
        yield f"    name: {pod.name}"
        yield f"    node: {pod.node}"
        yield f"    addresses: ['{pod.ipv4}', '{pod.ipv6}']"
    yield "networks:"
    yield f"  - name: {SERVER}"
    yield "    kind: Kzn"
    yield f"    cidrs: ['{plan.fabric.ipv4}/32', '{plan.fabric.ipv6}/128']"
    yield f"    zone: {plan.spec.zones[0]}"
    yield f"    region: {REGION}"
