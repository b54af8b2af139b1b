"""kzn/topology/static/source.py: files that change while the server runs."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from virtual import play

from kzn.errors import UsageError
from kzn.model.endpoint import EXTERNAL, UNKNOWN
from kzn.model.ip import pack
from kzn.topology.index import AddressIndex
from kzn.topology.static.source import POLL_SECONDS, StaticSource, open_static

DB = "networks: [{name: db, kind: Database, cidr: 10.9.0.0/24, zone: b}]"
CACHE = "networks: [{name: cache, kind: Cache, cidr: 10.9.0.0/24, zone: c}]"
PODS = """\
nodes: [{name: n1, zone: a, addresses: [192.0.2.1]}, {name: n2, zone: b}]
pods:
  - {namespace: s, name: one, node: n1, addresses: [10.1.0.1]}
  - {namespace: s, name: two, node: n2, addresses: [10.1.0.2]}
"""


class World:
    """An index, a folder with files, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1000.0
        self.index = AddressIndex(clock=lambda: self.now, wall=lambda: self.now + 1.7e9)

    def write(self, content: str, name: str = "static.yaml") -> Path:
        """Write a file as an editor or a ConfigMap does: a new one in place of the old one."""
        path = self.folder / name
        new = path.with_suffix(".new")
        new.write_text(content)
        new.replace(path)
        return path

    def open(self, *files: Path) -> StaticSource:
        return open_static(self.index, files, wall=lambda: self.now + 1.7e9)

    def owner(self, address: str, opened: float | None = None) -> str:
        """Name and zone of the owner of an address now, or from ``opened`` to now."""
        row = np.frombuffer(pack(address), np.uint8).reshape(1, 16)
        found = int(self.index.lookup(row, opened or self.now, self.now)[0])
        if found < 0:
            return {UNKNOWN: "unknown", EXTERNAL: "external"}[found]
        endpoint = self.index.endpoint(found)
        return f"{endpoint.name} {endpoint.zone}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def reads(source: StaticSource) -> tuple[int, int, bool]:
    found = source.stats().reads
    assert found is not None
    return found.loaded, found.failed, found.is_outdated


def test_a_changed_file_is_used_without_a_restart(world: World) -> None:
    source = world.open(world.write(DB))
    assert world.owner("10.9.0.7") == "db b"
    world.write(CACHE)
    play(source.look())
    assert world.owner("10.9.0.7") == "cache c"
    assert source.stats().counts.networks == 1
    assert reads(source) == (2, 0, False)


def test_a_file_that_is_not_changed_is_not_read(world: World) -> None:
    source = world.open(world.write(DB))
    for _ in range(3):
        play(source.look())
    assert reads(source) == (1, 0, False)


@pytest.mark.parametrize(
    "damage",
    [
        lambda world: world.write("networks: [{name: db, kind: Database, cidr: 10.9.0.0/8}]"),
        lambda world: world.write("networks: ["),
        lambda world: world.write(""),
        lambda world: (world.folder / "static.yaml").unlink(),
    ],
    ids=["mistake", "not YAML", "empty", "gone"],
)
def test_a_bad_file_keeps_the_old_one_with_one_line_and_a_number(
    world: World, damage: Callable[[World], object], caplog: pytest.LogCaptureFixture
) -> None:
    source = world.open(world.write(DB))
    damage(world)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            play(source.look())
    assert world.owner("10.9.0.7") == "db b"
    assert reads(source) == (1, 1, True)
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(world.folder / "static.yaml") in line
    assert "stays in use" in line
    world.write(CACHE)
    play(source.look())
    assert world.owner("10.9.0.7") == "cache c"
    assert reads(source) == (2, 1, False)


def test_the_former_content_again_ends_the_complaint(world: World) -> None:
    source = world.open(world.write(DB))
    world.write("networks: [")
    play(source.look())
    world.write(DB)
    play(source.look())
    assert reads(source)[1:] == (1, False)
    assert world.owner("10.9.0.7") == "db b"


def test_a_config_map_is_read_again_when_its_link_is_replaced(world: World) -> None:
    """The kubelet mounts ..data -> a folder, and replaces that link at once for all files."""
    for version, content in (("1", DB), ("2", CACHE)):
        (world.folder / version).mkdir()
        (world.folder / version / "static.yaml").write_text(content)
    (world.folder / "..data").symlink_to("1")
    (world.folder / "static.yaml").symlink_to("..data/static.yaml")
    source = world.open(world.folder / "static.yaml")
    (world.folder / "new").symlink_to("2")
    (world.folder / "new").replace(world.folder / "..data")
    play(source.look())
    assert world.owner("10.9.0.7") == "cache c"


def test_pods_and_nodes_come_go_and_move(world: World) -> None:
    source = world.open(world.write(PODS))
    assert [world.owner(f"10.1.0.{n}") for n in (1, 2)] == ["one a", "two b"]
    world.now += 100
    world.write(
        PODS.replace("name: n2, zone: b", "name: n2, zone: c").replace("node: n1", "node: n2")
    )
    play(source.look())
    assert [world.owner(f"10.1.0.{n}") for n in (1, 2)] == ["one c", "two c"]
    assert world.owner("192.0.2.1") == "n1 a"
    world.now += 100
    world.write(
        PODS.replace("  - {namespace: s, name: two, node: n2, addresses: [10.1.0.2]}\n", "")
    )
    play(source.look())
    world.now += 100
    assert world.owner("10.1.0.2") == "unknown"
    counts = source.stats().counts
    assert (counts.nodes, counts.pods) == (2, 1)


def test_what_was_deleted_may_come_again(world: World) -> None:
    source = world.open(world.write(PODS))
    for content, expected in (
        ("networks: []", ["unknown", "unknown"]),
        (PODS, ["one a", "n1 a"]),
        ("networks: []", ["unknown", "unknown"]),
        (PODS, ["one a", "n1 a"]),
    ):
        world.now += 100
        world.write(content)
        play(source.look())
        world.now += 100
        assert [world.owner(address) for address in ("10.1.0.1", "192.0.2.1")] == expected


def test_an_address_that_passes_to_another_pod_is_resolved_as_of_the_interval(world: World) -> None:
    source = world.open(world.write(PODS))
    world.now += 100
    before = world.now
    world.now += 100
    world.write(PODS.replace("name: one", "name: new"))
    play(source.look())
    world.now += 100
    assert world.owner("10.1.0.1") == "new a"
    row = np.frombuffer(pack("10.1.0.1"), np.uint8).reshape(1, 16)
    then = int(world.index.lookup(row, before - 10, before)[0])
    assert world.index.endpoint(then).name == "one"


def test_one_of_two_files_changes(world: World) -> None:
    source = world.open(world.write(PODS, "cluster.yaml"), world.write(DB))
    world.write(CACHE)
    play(source.look())
    assert [world.owner(a) for a in ("10.1.0.1", "10.9.0.7")] == ["one a", "cache c"]
    world.write(PODS.replace("zone: a", "zone: z"), "cluster.yaml")
    play(source.look())
    assert [world.owner(a) for a in ("10.1.0.1", "10.9.0.7")] == ["one z", "cache c"]


def test_run_looks_every_few_seconds(world: World) -> None:
    source = world.open(world.write(DB))

    async def act() -> None:
        task = asyncio.create_task(source.run())
        await asyncio.sleep(POLL_SECONDS / 2)
        world.write(CACHE)
        await asyncio.sleep(POLL_SECONDS)
        assert world.owner("10.9.0.7") == "cache c"
        task.cancel()

    play(act())


def test_a_bad_file_at_the_start_ends_the_server(world: World) -> None:
    with pytest.raises(UsageError, match=r"static\.yaml:1"):
        world.open(world.write("networks: ["))
