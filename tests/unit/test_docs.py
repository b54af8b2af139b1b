"""The pages name existing files, tests, commands, options, variables, metrics and floors."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kzn.cli.main import SUBCOMMANDS, load
from kzn.model.totals import SLOTS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
DEVELOPERS_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "RELEASE.md")
USERS_PAGES = [page for page in PAGES if page.name not in DEVELOPERS_PAGES]
OPERATIONS = ROOT / "docs" / "operations.md"

FOREIGN_OPTIONS = {
    "--verb",
    "--resource",
    "--from-file",
    "--wait",
    "--platform",
    "--manifest",
    "--set",
    "--no-deps",
    "--reuse-values",
    "--target",
}
"""Of kubectl, podman, helm and pip."""
NO_PATHS = {"kzn/kzn-agent"}
"""A ServiceAccount."""

LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
PATH = re.compile(r"(?<![\w/.<-])(?:kzn|bpf|tests|docs|scripts|bench|deploy)/[\w./-]*[\w/]")
TEST_FILE = re.compile(r"\btest_\w+\.py\b")
TEST = re.compile(r"`(test_\w+)`")
COMMAND = re.compile(r"^(?:\S*/)?kzn ([a-z][a-z-]*)((?: [^#|]*)?)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
VARIABLE = re.compile(r"\bKZN_[A-Z_]+\b")
METRIC = re.compile(r"(?<![\w/:])(?:kzn_(?:[a-z]+_)*[a-z]+|pod_cross_zone\w+)\b")
TARGET = re.compile(r"^make ([a-z][a-z-]*)", re.MULTILINE)

on_every_page = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES]
)
on_users_pages = pytest.mark.parametrize(
    "page", USERS_PAGES, ids=[str(page.relative_to(ROOT)) for page in USERS_PAGES]
)


def code(page: Path) -> Iterator[str]:
    """Every line of code on a page: in fenced blocks and in the text."""
    text = page.read_text()
    for block in FENCE.findall(text):
        yield from block.splitlines()
    for span in SPAN.findall(FENCE.sub("", text)):
        yield " ".join(span.split())


def options_of(name: str) -> dict[str, click.Option]:
    """The options of a real command by every name that they have; not those that only refuse."""
    command = load(name, SUBCOMMANDS[name])
    options = [param for param in command.params if isinstance(param, click.Option)]
    return {word: option for option in options if not option.hidden for word in option.opts}


def all_options() -> set[str]:
    return {word for name in SUBCOMMANDS for word in options_of(name)} | {"--help", "--version"}


def section(page: Path, heading: str) -> str:
    """The text below a heading, up to the next one."""
    _, found, rest = page.read_text().partition(f"\n{heading}\n")
    assert found, f"{page.name} has no section {heading!r}"
    return re.split(r"^#{1,3} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


@on_every_page
def test_every_relative_link_exists(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@on_every_page
def test_every_path_that_is_named_exists(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    named = {path for path in PATH.findall(text) if "NAME" not in path} - NO_PATHS
    places = (ROOT, page.parent)  # an example names its own files
    assert {path for path in named if not any((p / path).exists() for p in places)} == set()


@on_every_page
def test_every_test_that_is_named_exists(page: Path) -> None:
    files = [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("docs/examples/*/tests/test_*.py")]
    functions = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    text = FENCE.sub("", page.read_text())
    named = {name for name in TEST_FILE.findall(text) if "NAME" not in name}
    assert named <= {file.name for file in files}
    if page.name == "CONTRIBUTING.md":  # names there are examples of a style
        return
    assert set(TEST.findall(text)) <= functions


@on_users_pages
def test_every_command_has_the_options_that_are_shown_with_it(page: Path) -> None:
    shown = [match for line in code(page) for match in COMMAND.findall(line)]
    assert {name for name, _ in shown} <= set(SUBCOMMANDS)
    wrong = {
        (name, option)
        for name, rest in shown
        for option in OPTION.findall(rest)
        if option not in options_of(name)
    }
    assert wrong == set()


@on_users_pages
def test_every_option_that_is_named_is_one_of_some_command(page: Path) -> None:
    named = {option for line in code(page) for option in OPTION.findall(line)}
    assert named - all_options() - FOREIGN_OPTIONS == set()


@on_users_pages
def test_every_environment_variable_that_is_named_is_read(page: Path) -> None:
    known = {option.envvar for name in SUBCOMMANDS for option in options_of(name).values()}
    headers = (ROOT / "bpf/src").glob("*.h")
    elsewhere = [
        *headers,
        ROOT / "Vagrantfile",
        ROOT / "hatch_build.py",
        *(ROOT / "tests/vm").rglob("*.py"),
    ]
    of_others = {name for path in elsewhere for name in VARIABLE.findall(path.read_text())}
    assert set(VARIABLE.findall(page.read_text())) <= known | of_others


@pytest.mark.parametrize("name", ["agent", "server"])
def test_the_tables_of_options_list_all_options_of_the_daemons(name: str) -> None:
    rows = re.findall(r"^\| (`--[^|]*)\|", section(OPERATIONS, f"### kzn {name}"), re.MULTILINE)
    listed = {option for row in rows for option in OPTION.findall(row)}
    assert listed == {word for word in options_of(name) if word.startswith("--")}


@pytest.mark.parametrize("name", sorted(set(SUBCOMMANDS) - {"agent", "server"}))
def test_every_option_of_the_other_commands_is_in_operations(name: str) -> None:
    text = OPERATIONS.read_text()
    assert {word for word in options_of(name) if f"`{word}" not in text} == set()


@on_users_pages
def test_every_metric_that_is_named_is_in_the_list_of_metrics(page: Path) -> None:
    listed = set(METRIC.findall((ROOT / "docs" / "metrics.md").read_text()))
    named = {name for line in code(page) for name in METRIC.findall(line)}
    assert named <= listed


@on_every_page
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    files = [ROOT / "Makefile", *ROOT.glob("docs/examples/*/Makefile")]
    texts = "\n".join(file.read_text() for file in files)
    targets = set(re.findall(r"^([a-z-]+):", texts, re.MULTILINE))
    named = {name for line in code(page) for name in TARGET.findall(line)}
    assert named <= targets


def test_every_reason_of_the_kernel_is_explained() -> None:
    text = (ROOT / "docs" / "accuracy.md").read_text()
    rows = set(re.findall(r"^\| (missed|ignored) \| `(\w+)` \|", text, re.MULTILINE))
    assert rows == {(slot.kind, slot.reason) for slot in SLOTS if slot.reason}


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/adr/*.md")), ids=lambda page: page.name)
def test_a_decision_fits_on_a_screen(page: Path) -> None:
    assert len(page.read_text().splitlines()) <= 40


def layers(container: str) -> list[list[str]]:
    """The floors of a package, high to low, each a list of rooms (pyproject.toml)."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [found] = [
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract.get("containers") == [container]
    ]
    return [[room.strip() for room in layer.split("|")] for layer in found]


def test_the_floors_on_the_pages_equal_the_import_contract() -> None:
    picture = section(ROOT / "CONTRIBUTING.md", "## Floors and rooms")
    [block] = FENCE.findall(picture)
    shown = [re.split(r"  +", line.strip())[0] for line in block.splitlines()]
    assert [[room.strip() for room in line.split("|")] for line in shown] == layers("kzn")
    table = section(ROOT / "docs" / "architecture.md", "## Floors and rooms")
    rooms = {room for floor in layers("kzn") for room in floor}
    assert rooms == {Path(link).stem for link in LINK.findall(table) if link.startswith("../kzn/")}


@pytest.mark.parametrize("container", ["agent", "server", "topology"])
def test_the_layers_of_a_room_on_the_page_equal_the_import_contract(container: str) -> None:
    text = section(ROOT / "docs" / "architecture.md", "## Floors and rooms")
    line = " · ".join(" | ".join(floor) for floor in layers(f"kzn.{container}"))
    assert line in [" ".join(block.split()) for block in FENCE.findall(text)]
