"""The manifests of deploy/ as rendered by kubectl and helm, and queries of the result."""

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
OVERLAYS = sorted(path.parent.name for path in DEPLOY.glob("overlays/*/kustomization.yaml"))

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


def name_of(thing: Object) -> tuple[str, str, str]:
    """Kind, namespace and name, which are unique in a cluster."""
    metadata = thing["metadata"]
    return thing["kind"], metadata.get("namespace", ""), metadata["name"]


def pods(things: list[Object]) -> Iterator[tuple[str, Object]]:
    """Name and pod spec of each workload."""
    for thing in things:
        template = thing.get("spec", {}).get("template")
        if template and thing["apiVersion"] == "apps/v1":
            yield thing["metadata"]["name"], template["spec"]


def containers(pod: Object) -> list[Object]:
    """All containers of a pod, init containers first."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def one(things: list[Object], kind: str, name: str) -> Object:
    """The only object of that kind and name."""
    (found,) = [t for t in things if t["kind"] == kind and t["metadata"]["name"] == name]
    return found
