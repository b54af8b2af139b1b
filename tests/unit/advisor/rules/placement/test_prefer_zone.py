"""The change "prefer a zone": YAML, since a patch would replace the preferences that are there."""

import pytest
import yaml
from advice_world import party

from kzn.advisor.rules.placement.prefer_zone import prefer_zone


@pytest.mark.parametrize(
    ("kind", "zone"), [("Deployment", "b"), ("CronJob", "1"), ("Job", "no"), ("Job", "a: b")]
)
def test_the_preference_is_yaml_to_merge_by_hand_and_never_a_patch(kind: str, zone: str) -> None:
    change = prefer_zone(party("shop/web", kind), zone)
    assert change.commands == ()
    assert "by hand" in change.summary
    (term,) = yaml.safe_load(change.yaml)["affinity"]["nodeAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["preference"]["matchExpressions"] == [
        {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]}
    ]
