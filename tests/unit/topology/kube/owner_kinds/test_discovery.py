"""kzn/topology/kube/owner_kinds/discovery.py."""

import json

import pytest

from kzn.topology.kube.errors import KubeError
from kzn.topology.kube.owner_kinds.discovery import find


def test_a_resource_is_found_by_its_kind() -> None:
    resources = [
        {"name": "rollouts/status", "kind": "Rollout", "verbs": ["list", "watch"]},
        {"name": "others", "kind": "Other", "verbs": ["list", "watch"]},
        {"name": "rollouts", "kind": "Rollout", "verbs": ["get", "list", "watch"]},
        {"name": "reviews", "kind": "Review", "verbs": ["create"]},
    ]
    body = json.dumps({"resources": resources}).encode()
    base = "/apis/argoproj.io/v1alpha1"
    found = find(body, "Rollout", base, "argoproj.io")
    assert found is not None
    assert (found.name, found.path) == ("rollouts.argoproj.io", f"{base}/rollouts")
    assert find(body, "Review", base, "argoproj.io") is None
    with pytest.raises(KubeError):
        find(b"<html>", "Rollout", base, "argoproj.io")
