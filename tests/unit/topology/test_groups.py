"""One group a workload: by key, by the newest pod, kept after the last one."""

from itertools import permutations

import pytest
from cluster import IndexWorld
from hypothesis import given
from hypothesis import strategies as st

from kzn.topology import groups as module
from kzn.topology.facts import NamespaceFacts, PodFacts, Workload
from kzn.topology.groups import WorkloadGroups, first_of
from kzn.topology.index import DESCRIBED_AT_ONCE

WEB = Workload("Deployment", "web")
LOAD = Workload("CronJob", "load")


def pod(uid: str, *groups: str, started: float | None = 1.0, namespace: str = "shop") -> PodFacts:
    return PodFacts(uid, namespace, uid, started=started, groups=groups)


def of_team(*keys: str) -> WorkloadGroups:
    return WorkloadGroups(keys or ("team",))


@pytest.mark.parametrize(
    ("own", "namespace", "group"),
    [
        ((), (), ""),
        (("red",), ("blue",), "red"),
        (("",), ("blue",), "blue"),
        ((), ("blue",), "blue"),
        (("", "shop"), ("blue", ""), "blue"),
        (("", "shop"), (), "shop"),
        (("", ""), ("", "all"), "all"),
    ],
)
def test_the_first_key_counts_and_of_it_the_pod_before_the_namespace(
    own: tuple[str, ...], namespace: tuple[str, ...], group: str
) -> None:
    assert first_of(own, namespace) == group
    groups = of_team("team", "product")
    groups.put_pod(pod("p", *own), WEB)
    groups.put_namespace(NamespaceFacts("n", "shop", namespace))
    assert groups.of("shop", WEB) == group


def test_pods_that_get_another_group_are_told() -> None:
    groups = of_team()
    assert list(groups.put_pod(pod("a", "old"), WEB)) == ["a"]
    assert list(groups.put_pod(pod("b", "old", started=2.0), WEB)) == []
    assert list(groups.put_pod(pod("c", "new", started=3.0), WEB)) == ["a", "b", "c"]
    assert list(groups.put_pod(pod("a", "other"), WEB)) == []
    assert list(groups.drop_pod("c")) == ["a", "b"]
    assert groups.of("shop", WEB) == "old"


def test_of_pods_that_began_at_once_every_server_takes_the_same() -> None:
    for uids in ("ab", "ba"):
        groups = of_team()
        for uid in uids:
            groups.put_pod(pod(uid, f"of-{uid}", started=None), WEB)
        assert groups.of("shop", WEB) == "of-a"


def test_the_group_stays_after_the_last_pod_and_follows_its_namespace() -> None:
    groups = of_team()
    groups.put_namespace(NamespaceFacts("n", "shop", ("blue",)))
    groups.put_pod(pod("a"), LOAD)
    groups.put_pod(pod("b", "own"), WEB)
    groups.drop_pod("a")
    groups.drop_pod("b")
    assert groups.copy() == {("shop", *LOAD): "blue", ("shop", *WEB): "own"}
    groups.put_namespace(NamespaceFacts("n", "shop", ("green",)))
    assert groups.copy() == {("shop", *LOAD): "green", ("shop", *WEB): "own"}
    groups.drop_namespace("n")
    assert groups.of("shop", LOAD) == "green"


def test_a_deleted_namespace_leaves_its_successor_alone() -> None:
    groups = of_team()
    groups.put_namespace(NamespaceFacts("n1", "shop", ("blue",)))
    groups.put_namespace(NamespaceFacts("n2", "shop", ("green",)))
    groups.drop_namespace("n1")
    groups.put_pod(pod("a"), WEB)
    assert groups.of("shop", WEB) == "green"


def test_a_pod_that_changes_its_workload_leaves_the_one_before() -> None:
    groups = of_team()
    groups.put_pod(pod("a", "x"), WEB)
    groups.put_pod(pod("b", "y", started=2.0), WEB)
    assert list(groups.put_pod(pod("b", "y", started=2.0), LOAD)) == ["a", "b"]
    assert groups.copy() == {("shop", *WEB): "x", ("shop", *LOAD): "y"}


def test_ended_workloads_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENDED", 2)
    groups = of_team()
    for number in range(4):
        groups.put_pod(pod(f"p{number}", "x"), Workload("Pod", f"p{number}"))
        groups.drop_pod(f"p{number}")
    assert [name[2] for name in groups.copy()] == ["p2", "p3"]
    groups.put_namespace(NamespaceFacts("n", "shop", ("blue",)))
    assert set(groups.copy().values()) == {"x"}


class CountedUid(str):
    """A uid that counts how often it is compared for its order."""

    __slots__ = ()
    compared = 0

    def __lt__(self, other: str) -> bool:
        CountedUid.compared += 1
        return super().__lt__(other)

    def __gt__(self, other: str) -> bool:
        CountedUid.compared += 1
        return super().__gt__(other)


def test_a_large_workload_that_ends_pod_by_pod_is_not_searched_for_each() -> None:
    groups, uids = of_team(), [CountedUid(f"{number:04}") for number in range(1000)]
    for uid in uids:
        groups.put_pod(pod(uid, "x"), WEB)
    for order in (uids[:500], uids[:499:-1]):
        for uid in order:
            groups.drop_pod(uid)
    assert groups.of("shop", WEB) == "x"
    assert CountedUid.compared < 100 * len(uids)


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_of_pods_that_had_ended_at_the_start_the_newest_decides(order: tuple[int, ...]) -> None:
    groups = of_team()
    for number in order:
        groups.put_ended_pod(pod(f"p{number}", f"of-{number}", started=float(number)), LOAD)
    assert groups.of("shop", LOAD) == "of-2"
    groups.put_pod(pod("new", "alive", started=1.5), LOAD)
    groups.put_ended_pod(pod("p2", "of-2", started=2.0), LOAD)
    assert groups.of("shop", LOAD) == "alive"
    groups.drop_pod("new")
    assert groups.of("shop", LOAD) == "alive"


def finished(world: IndexWorld, uid: str, ago: float, started: float) -> None:
    facts = PodFacts(
        uid,
        "shop",
        uid,
        is_finished=True,
        started=started,
        finished=world.EPOCH + world.now - ago,
        groups=(f"of-{uid}",),
    )
    world.index.put_pod(facts, LOAD)


def test_finished_pods_that_are_listed_after_a_restart_have_their_group() -> None:
    world = IndexWorld(groups=of_team())
    finished(world, "long-ago", 90_000.0, 1.0)
    assert world.index.groups.of("shop", LOAD) == "of-long-ago"
    finished(world, "newest", 20.0, 3.0)
    finished(world, "before", 10.0, 2.0)
    assert world.index.groups.of("shop", LOAD) == "of-newest"


def test_pods_of_a_changed_group_are_described_some_at_a_time_and_once_each() -> None:
    world, number = IndexWorld(groups=of_team()), 2 * DESCRIBED_AT_ONCE + 10
    addresses = [(10 << 24 | n).to_bytes(16, "big") for n in range(number)]
    for n, address in enumerate(addresses):
        facts = PodFacts(f"p{n}", "shop", f"p{n}", addresses=(address,), started=0.0)
        world.index.put_pod(facts, WEB)

    def groups() -> list[str]:
        ids = [world.id_at(address, world.now, world.now) for address in addresses]
        return [world.index.endpoint(found).group for found in ids]

    for value in ("blue", "green", "blue"):
        world.index.put_namespace(NamespaceFacts("n", "shop", (value,)))
    assert set(groups()) == {""}
    assert world.index.describe_some()
    assert groups().count("blue") == DESCRIBED_AT_ONCE
    world.index.drop_pod("p5")
    world.index.drop_pod(f"p{number - 1}")
    addresses = addresses[:5] + addresses[6:-1]
    assert world.index.describe_some()
    assert not world.index.describe_some()
    assert set(groups()) == {"blue"}
    assert not world.index.describe_some()


def test_without_keys_nothing_is_kept() -> None:
    groups = WorkloadGroups()
    assert not groups.put_pod(pod("a"), WEB)
    assert not groups.put_namespace(NamespaceFacts("n", "shop", ("blue",)))
    assert not groups.drop_pod("a")
    assert not groups.copy()
    assert not groups.is_used


def test_without_keys_a_pod_of_a_static_file_has_its_group() -> None:
    groups = WorkloadGroups()
    assert list(groups.put_pod(pod("a", "x"), WEB)) == ["a"]
    assert groups.is_used
    assert list(groups.put_pod(pod("a"), WEB)) == ["a"]
    assert groups.of("shop", WEB) == ""


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "drop", "namespace"]),
        st.sampled_from("abcde"),
        st.sampled_from([WEB, LOAD]),
        st.sampled_from(["", "x", "y"]),
        st.integers(0, 3),
    ),
    max_size=60,
)


@given(_STEPS)
def test_a_group_is_what_the_living_pods_and_the_namespace_say(
    steps: list[tuple[str, str, Workload, str, int]],
) -> None:
    groups = of_team()
    living: dict[str, tuple[PodFacts, Workload]] = {}
    told: dict[str, str] = {}
    namespace = ""
    for kind, uid, workload, value, started in steps:
        if kind == "put":
            living[uid] = pod(uid, value, started=float(started)), workload
            again = groups.put_pod(*living[uid])
        elif kind == "drop":
            living.pop(uid, None)
            told.pop(uid, None)
            again = groups.drop_pod(uid)
        else:
            namespace = value
            again = groups.put_namespace(NamespaceFacts("n", "shop", (value,)))
        for one in again:
            told[one] = groups.of("shop", living[one][1])
        if kind == "put":
            told[uid] = groups.of("shop", workload)  # it is described at any rate
        for uid_, (_, workload_) in living.items():
            mates = [facts for facts, other in living.values() if other == workload_]
            newest = min(mates, key=lambda facts: (-(facts.started or 0.0), facts.uid))
            expected = newest.groups[0] or namespace
            assert groups.of("shop", workload_) == expected
            assert told[uid_] == expected
