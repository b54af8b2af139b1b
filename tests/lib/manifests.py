"""The manifests of deploy/ as rendered by kubectl and helm, and queries of the result."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PLAIN = DEPLOY / "kzn.yaml"
KUBERNETES = ["1.31", "1.34", "1.37"]
"""The oldest version that all overlays support, one between, and the newest known."""
_FOREIGN = {"cert-manager.io/v1", "monitoring.coreos.com/v1", "security.openshift.io/v1"}
OVERLAYS = sorted(path.parent.name for path in DEPLOY.glob("overlays/*/kustomization.yaml"))

HELPERS = {"POD_NAMESPACE", "SERVICE", "AGENT_ACCOUNT"}
"""Variables that others refer to; the rest are options of the container's command."""

Object = dict[str, Any]


def tool(name: str) -> str:
    """The path of a program: beside Python, where scripts/setup installs it, else in PATH."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: scripts/setup test installs it")
    return found


def output_of(*command: str | Path) -> str:
    """The stdout of a program; the test fails with its output if its exit code is not 0."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def objects(text: str) -> list[Object]:
    """The objects of a stream of YAML documents."""
    return [document for document in yaml.safe_load_all(text) if document]


def kustomized(folder: str) -> list[Object]:
    """The objects that ``kubectl apply -k deploy/FOLDER`` would apply."""
    return objects(output_of(tool("kubectl"), "kustomize", DEPLOY / folder))


def has_schema(thing: Object) -> bool:
    """Whether it is Kubernetes' own; objects of operators and of OpenShift have no schema."""
    return thing["apiVersion"] not in _FOREIGN


def name_of(thing: Object) -> tuple[str, str, str]:
    """Kind, namespace and name, which are unique in a cluster."""
    metadata = thing["metadata"]
    return thing["kind"], metadata.get("namespace", ""), metadata["name"]


def pods(things: list[Object]) -> Iterator[tuple[str, Object]]:
    """Name and pod spec of each workload."""
    for thing in things:
        spec = thing.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template and thing["apiVersion"] in ("apps/v1", "batch/v1"):
            yield thing["metadata"]["name"], template["spec"]


def containers(pod: Object) -> list[Object]:
    """All containers of a pod, init containers first."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def one(things: list[Object], kind: str, name: str) -> Object:
    """The only object of that kind and name."""
    (found,) = [t for t in things if t["kind"] == kind and t["metadata"]["name"] == name]
    return found


def without_names(variables: list[Object]) -> list[Object]:
    """Variables with the names of the service and the account where they are referred to."""
    names = {v["name"]: v["value"] for v in variables if v["name"] in HELPERS and "value" in v}
    return [
        variable
        if "value" not in variable
        else {
            **variable,
            "value": re.sub(r"\$\((\w+)\)", lambda m: names.get(m[1], m[0]), variable["value"]),
        }
        for variable in variables
        if variable["name"] not in names
    ]


def variables_of(things: list[Object], workload: str, namespace: str) -> dict[str, str]:
    """The variables of a workload's first container, with $(POD_NAMESPACE) as the kubelet sets it.

    KeyError for a reference to a variable that is not in the list before it.
    """
    environment: dict[str, str] = {}
    for entry in dict(pods(things))[workload]["containers"][0]["env"]:
        source = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        value = namespace if source == "metadata.namespace" else entry.get("value", "")
        environment[entry["name"]] = re.sub(
            r"\$\((\w+)\)", lambda found: environment[found[1]], value
        )
    return environment
