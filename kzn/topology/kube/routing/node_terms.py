"""The zones that a pod template allows: its nodeSelector and its required node affinity. Pure.

In: labels, and terms of node affinity. Out: zones that are allowed, or all but some, and whether
single nodes are named. Never: other labels: a node pool of one zone is not known by them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from kzn.topology.kube.api_objects import ZONE_LABELS, Json

_MOST_TERMS, _MOST_EXPRESSIONS, _MOST_VALUES = 32, 16, 100
"""What is read of an affinity; with more, pods are taken to be bound to nodes."""
_HOST = ("kubernetes.io/hostname", "metadata.name")


class Expression(Json):
    """NodeSelectorRequirement."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] | None = None


class Term(Json):
    """NodeSelectorTerm: all of its expressions must hold."""

    match_expressions: tuple[Expression, ...] | None = None
    match_fields: tuple[Expression, ...] | None = None


class Required(Json):
    """NodeSelector: one of its terms must hold."""

    node_selector_terms: tuple[Term, ...] | None = None


class NodeAffinity(Json):
    """A pod's node affinity, without preferences."""

    required: Required | None = msgspec.field(
        default=None, name="requiredDuringSchedulingIgnoredDuringExecution"
    )


@dataclass(frozen=True, slots=True)
class AllowedZones:
    """``zones``, or all but them if ``is_but``. ``is_pinned``: and of these only some nodes."""

    zones: frozenset[str] = frozenset()
    is_but: bool = True
    is_pinned: bool = False

    def both(self, other: "AllowedZones") -> "AllowedZones":
        """What both allow."""
        is_pinned = self.is_pinned or other.is_pinned
        match self.is_but, other.is_but:
            case True, True:
                return AllowedZones(self.zones | other.zones, True, is_pinned)
            case True, False:
                return AllowedZones(other.zones - self.zones, False, is_pinned)
            case False, True:
                return AllowedZones(self.zones - other.zones, False, is_pinned)
        return AllowedZones(self.zones & other.zones, False, is_pinned)

    def either(self, other: "AllowedZones") -> "AllowedZones":
        """What one of them allows."""
        is_pinned = self.is_pinned or other.is_pinned
        match self.is_but, other.is_but:
            case True, True:
                return AllowedZones(self.zones & other.zones, True, is_pinned)
            case True, False:
                return AllowedZones(self.zones - other.zones, True, is_pinned)
            case False, True:
                return AllowedZones(other.zones - self.zones, True, is_pinned)
        return AllowedZones(self.zones | other.zones, False, is_pinned)


def is_zone_key(key: str) -> bool:
    """Whether a label is a zone's; cloud drivers have their own: topology.ebs.csi.aws.com/zone."""
    return key in ZONE_LABELS or key.rpartition("/")[2] == "zone"


def allowed_zones(
    selector: Mapping[str, str] | None, affinity: NodeAffinity | None
) -> AllowedZones:
    """Where pods with this nodeSelector and node affinity may run."""
    found = _all_of(Expression(key, "In", (value,)) for key, value in (selector or {}).items())
    required = affinity.required if affinity is not None else None
    if required is None:
        return found
    # Neither no terms nor an empty term match any node.
    any_of = AllowedZones(is_but=False)
    terms = required.node_selector_terms or ()
    if len(terms) > _MOST_TERMS:
        return AllowedZones(is_pinned=True)
    for term in terms:
        expressions = (*(term.match_expressions or ()), *(term.match_fields or ()))
        if len(expressions) > _MOST_EXPRESSIONS:
            return AllowedZones(is_pinned=True)
        if expressions:
            any_of = any_of.either(_all_of(expressions))
    return found.both(any_of)


def _all_of(expressions: Iterable[Expression]) -> AllowedZones:
    found = AllowedZones()
    for one in expressions:
        values = one.values or ()
        if one.key in _HOST:
            # All nodes but some are like all: pods find room elsewhere in the zone.
            found = found.both(AllowedZones(is_pinned=one.operator == "In"))
        elif is_zone_key(one.key) and one.operator in ("In", "NotIn", "DoesNotExist"):
            allowed = AllowedZones(frozenset(values), is_but=one.operator == "NotIn")
            too_many = AllowedZones(is_pinned=True)
            found = found.both(allowed if len(values) <= _MOST_VALUES else too_many)
    return found
