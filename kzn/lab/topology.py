"""The lab as a static topology file of `kzn server`: nodes, pods and the server."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kzn.lab.plan import Plan, Pod

NAMESPACE = "demo"
REGION = "lab"
SERVER = "kzn-server"


@dataclass(frozen=True, slots=True)
class PodName:
    """What the server calls a pod of the lab."""

    namespace: str
    name: str
    kind: str
    workload: str
    group: str


def topology(
    plan: Plan,
    provider: str = "",
    names: Mapping[str, PodName] | None = None,
    more: tuple[Pod, ...] = (),
) -> str:
    """The YAML text; the server is a network of the first zone.

    ``provider`` is the cloud whose prices apply to the nodes, empty for none. ``names`` are those
    of the pods by their names in the plan; without, each pod is a workload of `NAMESPACE`.
    ``more`` are pods beside those of the plan.
    """
    return "\n".join(_lines(plan, provider, names, (*plan.pods, *more))) + "\n"


def _lines(
    plan: Plan, provider: str, names: Mapping[str, PodName] | None, pods: tuple[Pod, ...]
) -> Iterator[str]:
    yield "nodes:"
    for node in plan.nodes:
        yield f"  - name: {node.name}"
        yield f"    zone: {node.zone}"
        yield f"    region: {REGION}"
        if provider:
            yield f"    provider: {provider}"
        yield f"    addresses: ['{node.ipv4}', '{node.ipv6}']"
    yield "pods:"
    for number, pod in enumerate(pods):
        plain = PodName(NAMESPACE, pod.name, "Pod", pod.name, f"team-{number % 2 + 1}")
        named = names[pod.name] if names else plain
        yield f"  - namespace: {named.namespace}"
        yield f"    name: {named.name}"
        yield f"    node: {pod.node}"
        yield f"    workload: {named.workload}"
        yield f"    workload_kind: {named.kind}"
        yield f"    addresses: ['{pod.ipv4}', '{pod.ipv6}']"
        yield f"    group: {named.group}"
    yield "networks:"
    yield f"  - name: {SERVER}"
    yield "    kind: Kzn"
    yield f"    cidrs: ['{plan.fabric.ipv4}/32', '{plan.fabric.ipv6}/128']"
    yield f"    zone: {plan.spec.zones[0]}"
    yield f"    region: {REGION}"
