"""One agent for each node: a restart gets in at once, a second agent does not."""

from dataclasses import dataclass, field

import pytest

from kzn.server.receive.live_agents import SILENT_SECONDS, LiveAgent, LiveAgents, Waiting


@dataclass(slots=True)
class Scene:
    """Agents that connect, and the clock."""

    now: float = 1000.0
    closed: list[str] = field(default_factory=list)
    agents: LiveAgents = field(init=False)

    def __post_init__(self) -> None:
        self.agents = LiveAgents(lambda: self.now)

    def agent(self, name: str, process: int, epoch: int, node: str = "n") -> LiveAgent:
        return LiveAgent(Connection(self, name), name, node, process, epoch, self.now)

    def connect(self, name: str, process: int, epoch: int, node: str = "n") -> LiveAgent:
        agent = self.agent(name, process, epoch, node)
        assert self.agents.admit(agent) is None
        return agent


@dataclass(slots=True)
class Connection:
    scene: Scene
    name: str

    def supersede(self) -> None:
        self.scene.closed.append(self.name)


def test_a_second_agent_of_a_node_is_refused_while_the_first_is_heard() -> None:
    scene = Scene()
    first = scene.connect("first", process=1, epoch=10)
    for _ in range(3):
        scene.now += SILENT_SECONDS - 1
        assert scene.agents.admit(scene.agent("second", process=2, epoch=20)) is first
        scene.agents.heard(first)
    assert scene.closed == []
    assert len(scene.agents) == 1


def test_a_second_agent_gets_in_once_the_first_has_left() -> None:
    scene = Scene()
    first = scene.connect("first", process=1, epoch=10)
    scene.agents.left(first)
    scene.agents.left(first)
    scene.connect("second", process=2, epoch=20)
    assert scene.closed == []


def test_a_restarted_agent_gets_in_at_once_and_closes_the_connection_before_it() -> None:
    scene = Scene()
    first = scene.connect("first", process=1, epoch=10)
    scene.connect("again", process=2, epoch=10)
    assert scene.closed == ["first"]
    scene.agents.left(first)  # the end of its task comes later
    assert len(scene.agents) == 1


def test_a_silent_agent_does_not_lock_its_node_out() -> None:
    scene = Scene()
    scene.connect("gone", process=1, epoch=10)
    scene.now += SILENT_SECONDS
    scene.connect("new maps", process=2, epoch=20)
    assert scene.closed == ["gone"]


@pytest.mark.parametrize(
    ("interval", "silent_after"), [(0.0, 60.0), (10.0, 60.0), (300.0, 900.0), (1e9, 900.0)]
)
def test_an_agent_that_tells_a_long_interval_has_time_for_three(
    interval: float, silent_after: float
) -> None:
    scene = Scene()
    first = scene.agent("first", process=1, epoch=10)
    first.interval = interval
    assert scene.agents.admit(first) is None
    scene.now += silent_after - 1
    assert scene.agents.admit(scene.agent("second", process=2, epoch=20)) is first
    scene.now += 1
    assert scene.agents.admit(scene.agent("second", process=2, epoch=20)) is None


def test_the_sets_of_one_process_are_one_agent() -> None:
    scene = Scene()
    scene.connect("counting", process=1, epoch=10)
    scene.connect("retired", process=1, epoch=9)
    scene.connect("reconnected", process=1, epoch=10)
    assert scene.closed == []
    scene.connect("next", process=2, epoch=9)  # it drains what the former one has left
    assert sorted(scene.closed) == ["counting", "reconnected", "retired"]
    scene.connect("next", process=2, epoch=11)


def test_agents_that_do_not_tell_their_process_are_accepted_beside_any_other() -> None:
    scene = Scene()
    scene.connect("old", process=0, epoch=10)
    scene.connect("old", process=0, epoch=20)
    scene.connect("new", process=1, epoch=30)
    scene.connect("old", process=0, epoch=40)
    assert scene.closed == []


@pytest.mark.parametrize("process", [1, 2])
def test_nodes_do_not_concern_each_other(process: int) -> None:
    scene = Scene()
    scene.connect("first", process=1, epoch=10, node="n")
    scene.connect("other", process=process, epoch=20, node="m")
    assert scene.closed == []


def test_nothing_is_kept_of_agents_that_have_left() -> None:
    scene = Scene()
    for number in range(100):
        scene.agents.left(scene.connect("agent", process=number, epoch=number, node=str(number)))
    assert len(scene.agents) == 0


def test_a_server_without_a_batch_tells_since_when_agents_wait_and_when_one_is_due() -> None:
    scene = Scene()
    assert scene.agents.waiting() == Waiting()
    first = scene.connect("first", process=1, epoch=10)
    scene.now += 4
    assert scene.agents.waiting() == Waiting(4.0, None)  # it does not tell its interval
    second = scene.connect("second", process=2, epoch=20, node="m")
    first.interval, second.interval = 15.0, 10.0
    scene.now += 3
    assert scene.agents.waiting() == Waiting(7.0, 7.0)
    scene.now += 60
    assert scene.agents.waiting() == Waiting(67.0, 0.0)
