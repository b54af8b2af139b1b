"""The package, the manifests, the chart and the image have the same version."""

import re

import yaml
from manifests import DEPLOY, PLAIN, ROOT, containers, objects, pods

from kzn import __version__

CONTAINERFILE = (ROOT / "Containerfile").read_text()


def test_manifests_and_chart_have_the_version_of_the_package() -> None:
    images = {
        container["image"]
        for name in (PLAIN, DEPLOY / "detach.yaml")
        for _, pod in pods(objects(name.read_text()))
        for container in containers(pod)
    }
    assert images == {f"registry.example.com/kzn:{__version__}"}
    chart = yaml.safe_load((DEPLOY / "chart" / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__
    parts = [page.read_text() for page in DEPLOY.glob("[bc]*/**/kustomization.yaml")]
    tags = [tag for text in parts for tag in re.findall(r"newTag: (.*)", text)]
    assert tags == [__version__] * 2
    assert (
        f"ours=registry.example.com/kzn:{__version__}\n"
        in (ROOT / "scripts" / "manifests").read_text()
    )


def test_the_image_has_what_each_sink_of_kzn_needs() -> None:
    """An extra for a sink is of no use to a container that cannot install it."""
    extras = re.findall(r"'/src\[(.*)\]'", CONTAINERFILE)
    assert extras == ["agent,server,tools,history,s3"]


def test_the_image_has_the_version_of_the_package_and_a_user_that_is_not_root() -> None:
    assert f"ARG VERSION={__version__}\n" in CONTAINERFILE
    assert re.findall(r"^USER (.+)$", CONTAINERFILE, re.MULTILINE) == ["65532:65532"]
    assert "latest" not in CONTAINERFILE
