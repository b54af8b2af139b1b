"""No two releases share an object, whatever their names and namespaces, and all names are valid."""

import re
from typing import Any

import hypothesis
import pytest
from chart import Values, rendered
from hypothesis import strategies
from manifests import DEPLOY, Object, name_of, pods, variables_of

pytestmark = pytest.mark.slow

EVERYTHING: Values = {
    "tls": {"enabled": True},
    "state": {"enabled": True},
    "static": {"networks": [{"name": "a", "kind": "b", "cidr": "10.0.0.0/8"}]},
    "prices": {"lists": {"a.yaml": {"extends": "aws"}}},
    "budgets": [{"name": "a", "amount": 1, "currency": "USD"}],
    "groupLabels": ["team"],
    "ownerRules": [{"apiGroups": [""], "resources": ["replicationcontrollers"]}],
    "advice": {"moreFacts": True},
    "openshift": {"enabled": True},
    "prometheusOperator": {"enabled": True},
    "report": {"enabled": True, "claim": "reports"},
    "http": {"auth": "kubernetes"},
    "server": {"priorityClassName": "system-cluster-critical"},
}
COLLECTOR: Values = {"opencost": {"collector": True}}
WIDE = {"ClusterRole", "ClusterRoleBinding", "SecurityContextConstraints"}
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123, of namespaces
SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1035
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LONGEST_RELEASE = 53  # of Helm
PARTS = [
    *["kzn", "server", "owners", "groups", "advice", "report", "agent", "observability"],
    *["a", "b", "1", "007", "true", "null", "kzn-server", "x" * 25],
]
"""Words that names are made of, those among them that the chart adds, and numbers and such."""


def of_parts(separators: str, longest: int) -> strategies.SearchStrategy[str]:
    joined = strategies.tuples(
        strategies.sampled_from(separators),
        strategies.lists(strategies.sampled_from(PARTS), min_size=1, max_size=4),
    ).map(lambda drawn: drawn[0].join(drawn[1]))
    return joined.map(lambda name: name[:longest].rstrip("-."))


INSTALLATIONS = strategies.tuples(of_parts("-.", LONGEST_RELEASE), of_parts("-", 63))


def wide(things: list[Object]) -> set[tuple[str, str, str]]:
    return {name_of(thing) for thing in things if thing["kind"] in WIDE}


@hypothesis.settings(max_examples=40)
@hypothesis.given(strategies.lists(INSTALLATIONS, min_size=2, max_size=2, unique=True))
@hypothesis.example([("kzn", "kzn"), ("kzn", "owners")])
@hypothesis.example([("kzn", "kzn"), ("kzn", "groups")])
@hypothesis.example([("kzn", "kzn"), ("kzn", "advice")])
@hypothesis.example([("kzn", "kzn"), ("kzn-server", "owners")])
@hypothesis.example([("kzn-server-x", "y"), ("kzn", "x-server-y")])
@hypothesis.example([("kzn.a", "b"), ("kzn-a", "b")])
@hypothesis.example([("a", "b"), ("a-kzn", "b")])
@hypothesis.example([("x" * 52 + "1", "b"), ("x" * 52 + "2", "b")])
def test_no_two_releases_share_an_object_without_a_namespace(
    installations: list[tuple[str, str]],
) -> None:
    first, second = (
        wide(rendered(EVERYTHING, release=release, namespace=namespace))
        for release, namespace in installations
    )
    assert len(first) == len(second) == 11
    assert not first & second


@hypothesis.settings(max_examples=25)
@hypothesis.given(INSTALLATIONS)
@hypothesis.example(("x" * LONGEST_RELEASE, "n" * 63))
@hypothesis.example(("kzn" * 17, "1" * 63))
@hypothesis.example(("a.b", "c"))
@hypothesis.example(("1st", "2"))
@hypothesis.example(("null", "true"))
def test_all_names_are_valid_whatever_those_of_release_and_namespace(
    installation: tuple[str, str],
) -> None:
    release, namespace = installation
    things = [
        *rendered(EVERYTHING, release=release, namespace=namespace),
        *rendered(COLLECTOR, release=release, namespace=namespace),
    ]
    for thing in things:
        kind, where, name = name_of(thing)
        assert where == ("" if kind in WIDE else namespace)
        assert SUBDOMAIN.fullmatch(name), name
        assert len(name) <= 253
        if kind == "Service":
            assert SERVICE.fullmatch(name), name
        if kind not in WIDE:
            assert len(name) <= (52 if kind == "CronJob" else 63)
            assert LABEL.fullmatch(name), name
        for labels in _labels(thing):
            assert all(isinstance(value, str) and len(value) <= 63 for value in labels.values())
    stems = {name.removesuffix("-server") for name, _ in pods(things) if name.endswith("-server")}
    (stem,) = stems
    agent = variables_of(things, f"{stem}-agent", namespace)
    assert agent["KZN_SERVER"] == f"{stem}-server.{namespace}.svc:7070"
    assert f"{stem}-server" in {name_of(thing)[2] for thing in things if thing["kind"] == "Service"}


def _labels(value: Any, key: str = "") -> list[dict[str, Any]]:
    """All labels and label selectors below an object."""
    if isinstance(value, list):
        return [found for child in value for found in _labels(child)]
    if not isinstance(value, dict):
        return []
    here = [value] if key in ("labels", "matchLabels") else []
    return here + [found for name, child in value.items() for found in _labels(child, name)]


def test_long_names_in_one_namespace_are_kept_apart() -> None:
    releases = ["team-kzn-" + "x" * 42 + end for end in ("-1", "-2")] + ["a.kzn", "a-kzn"]
    found = [
        {name_of(thing) for thing in rendered(release=release, namespace="net")}
        for release in releases
    ]
    for number, names in enumerate(found):
        assert not any(names & others for others in found[:number])


def test_every_template_names_its_namespace_as_text() -> None:
    """A namespace may be called 007 or null."""
    for path in (DEPLOY / "chart" / "templates").iterdir():
        for line in path.read_text().splitlines():
            if line.strip().startswith(("namespace:", "app.kubernetes.io/instance: {{")):
                assert "quote" in line, f"{path.name}: {line}"
