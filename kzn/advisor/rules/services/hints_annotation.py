"""A Service whose topology annotation takes precedence over trafficDistribution.

Signature: the annotation topology-mode (or topology-aware-hints) is present, and clients cross
though their zones have endpoints. "Auto" wants about three endpoints per zone and gives hints by
CPU; any other value switches hints off.
Arithmetic: that of same-zone.
"""

from collections.abc import Iterator
from shlex import quote

from kzn.advisor.declaration import Rule
from kzn.advisor.proposal import Change, Draft
from kzn.advisor.rules.services.zone_draft import with_change, zone_draft
from kzn.advisor.world import World

_KEYS = "service.kubernetes.io/topology-mode- service.kubernetes.io/topology-aware-hints-"


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    for traffic in world.traffic:
        service = traffic.service
        if not service.topology_mode or service.is_headless or service.internal_policy == "Local":
            continue
        draft = zone_draft(world, traffic)
        if draft is None:
            continue
        namespace, name = quote(service.namespace), quote(service.name)
        remove = f"kubectl -n {namespace} annotate service {name} {_KEYS}"
        hinted = sum(one.has_hint for one in service.endpoints)
        yield with_change(
            draft,
            f"{service}: the annotation topology-mode switches its zones off",
            Change(
                f"remove the annotation (it is {service.topology_mode!r}); {draft.change.summary}",
                (remove, *draft.change.commands),
            ),
            "the annotation takes precedence over spec.trafficDistribution",
            f"{hinted} of {len(service.endpoints)} endpoints have hints",
        )


RULE = Rule("hints-annotation", "a topology annotation that keeps zones from being used", propose)
