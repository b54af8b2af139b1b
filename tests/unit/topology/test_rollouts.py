"""What was rolled out, from objects before and after, creations, and samples of zones."""

from dataclasses import replace

import pytest

from kzn.client.rollouts import sentence
from kzn.topology.facts import OwnerFacts, OwnerRef, ServiceFacts, Workload
from kzn.topology.rollouts import (
    ABSENT_SAMPLES,
    JOIN_SECONDS,
    KEEP_SECONDS,
    MAX_GAPS,
    MAX_TEXT,
    LogChanges,
    Rollout,
    Rollouts,
    Watched,
    between,
)
from kzn.topology.routing import Routing
from kzn.topology.routing_facts import ControllerFacts, ServiceRouting

NOW = 1_700_000_000.0
WEB = ControllerFacts(
    "u1", "Deployment", "shop", "web", 3, images=("app", "web:1"), created=NOW - 40 * 86_400
)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def told(log: Rollouts, begin: float = 0.0, end: float = 2 * NOW) -> list[tuple[str, str, str]]:
    return [(one.what, one.before, one.after) for one in between(log.all(), begin, end)]


def replicaset(uid: str, name: str, created: float, kind: str = "Deployment") -> OwnerFacts:
    return OwnerFacts(uid, name, OwnerRef(kind, "web", "u1"), 0, "shop", created)


def test_a_replicaset_counts_once_and_from_its_creation_on_which_may_be_before_the_server() -> None:
    clock = Clock()
    log = Rollouts(clock)
    for _ in range(2):  # listed again after a gap of the watch
        log.put_replicaset(replicaset("r1", "web-1", NOW - 5000))
        log.put_replicaset(replicaset("r2", "web-2", NOW - 100))
        log.put_replicaset(replicaset("r0", "web-0", NOW - KEEP_SECONDS - 1))
        log.put_replicaset(OwnerFacts("r3", "alone", None, 0, "shop", NOW))
        log.put_replicaset(replace(replicaset("r4", "x", NOW), created=None))
    assert between(log.all(), 0, NOW) == [
        Rollout(NOW - 100, NOW - 100, "shop", "Deployment", "web", "replicaset", "", "web-2"),
        Rollout(NOW - 5000, NOW - 5000, "shop", "Deployment", "web", "replicaset", "", "web-1"),
    ]
    assert told(log, NOW - 4999, NOW) == [("replicaset", "", "web-2")]
    assert told(log, NOW - 5000, NOW - 100) == [("replicaset", "", "web-1")]


def test_owners_of_other_groups_have_their_kind_alone() -> None:
    log = Rollouts(Clock())
    log.put_replicaset(replicaset("r1", "web-1", NOW, "Rollout.v1alpha1.argoproj.io"))
    assert [one.of for one in log.all()] == [("shop", "Rollout", "web")]


def test_the_first_replicaset_of_a_new_workload_is_no_change_of_its_own() -> None:
    log = Rollouts(Clock())
    log.put_replicaset(replicaset("r1", "web-1", NOW - 999))
    log.put_replicaset(replicaset("r2", "web-2", NOW - 10))
    log.put_controller(None, replace(WEB, created=NOW - 1000))
    assert told(log) == [("replicaset", "", "web-2"), ("created", "", "")]


def test_images_are_those_of_the_containers_that_differ() -> None:
    log, two = Rollouts(Clock()), replace(WEB, images=("app", "web:1", "proxy", "envoy:1"))
    log.put_controller(WEB, replace(WEB, images=("app", "web:2")))
    log.put_controller(two, replace(two, images=("app", "web:1", "proxy", "envoy:2")))
    log.put_controller(two, WEB)
    log.put_controller(WEB, WEB)
    assert sorted(told(log)) == [
        ("images", "proxy=envoy:1", ""),
        ("images", "proxy=envoy:1", "proxy=envoy:2"),
        ("images", "web:1", "web:2"),
    ]


def test_an_autoscalers_changes_of_an_hour_are_one_and_say_how_many_they_were() -> None:
    clock = Clock()
    log = Rollouts(clock)
    for number, replicas in enumerate((5, 4, 7)):
        clock.now = NOW + 60 * number
        before = (3, 5, 4)[number]
        log.put_controller(replace(WEB, replicas=before), replace(WEB, replicas=replicas))
    clock.now = NOW + JOIN_SECONDS + 1
    log.put_controller(replace(WEB, replicas=7), replace(WEB, replicas=8))
    assert between(log.all(), 0, 2 * NOW) == [
        Rollout(clock.now, clock.now, "shop", "Deployment", "web", "replicas", "7", "8"),
        Rollout(NOW, NOW + 120, "shop", "Deployment", "web", "replicas", "3", "7", 3),
    ]
    # What went on in a span counts, though it began before.
    assert told(log, NOW + 100, NOW + 130) == [("replicas", "3", "7")]
    # After a gap of the watch the number before is another: not the same walk.
    log.put_controller(replace(WEB, replicas=2), replace(WEB, replicas=1))
    assert told(log)[0] in (("replicas", "2", "1"), ("replicas", "7", "8"))
    assert len(log) == 3


def test_changes_that_end_as_they_began_say_what_was_between() -> None:
    clock = Clock()
    log = Rollouts(clock)
    for before, after in ((3, 5), (5, 3)):
        clock.now += 60
        log.put_controller(replace(WEB, replicas=before), replace(WEB, replicas=after))
    (found,) = log.all()
    assert (found.before, found.via, found.after, found.times) == ("3", "5", "3", 2)
    assert sentence(found) == "replicas 3 → 5 → 3 in 2 steps"
    log.put_controller(replace(WEB, replicas=3), replace(WEB, replicas=4))
    (found,) = log.all()
    assert sentence(found) == "replicas 3 → 4 in 3 steps"


def test_placement_deletion_and_services_are_changes_but_labels_and_the_like_are_not() -> None:
    log = Rollouts(Clock())
    routing = Routing(rollouts=log)
    routing.put_controller(WEB)
    routing.put_controller(replace(WEB, zones=("b",), spread="DoNotSchedule"))
    routing.put_controller(
        replace(WEB, zones=("b",), spread="DoNotSchedule", selector=(("a", "b"),))
    )
    routing.drop_controller("u1")
    one = ServiceFacts("s1", "shop", "cart", (b"1",))
    for facts in (
        one,
        replace(one, addresses=(b"2",)),
        replace(one, routing=ServiceRouting(distribution="PreferSameZone")),
        replace(one, routing=ServiceRouting(internal_policy="Local", topology_mode="Auto")),
    ):
        routing.put_service(facts)
    assert sorted(told(log)) == [
        ("deleted", "", ""),
        ("placement", "any zone", "zone b; spread by zone (DoNotSchedule)"),
        ("service", "trafficDistribution PreferSameZone, internalTrafficPolicy unset,"
         " topology-mode unset", "trafficDistribution unset, internalTrafficPolicy Local,"
         " topology-mode Auto"),
        ("service", "trafficDistribution unset", "trafficDistribution PreferSameZone"),
    ]  # fmt: skip
    routing.put_controller(WEB)
    routing.forget_controller("u1")
    assert len(told(log)) == 4
    assert not routing.view().controllers


def placed(**of: str) -> dict[str, set[tuple[str, Workload]]]:
    """By name the zones, as letters."""
    found: dict[str, set[tuple[str, Workload]]] = {}
    for name, zones in of.items():
        kind = "Job" if name == "job" else "Deployment"
        for zone in zones:
            found.setdefault(zone, set()).add(("shop", Workload(kind, name)))
    return found


def test_zones_change_when_two_samples_agree_and_a_pod_in_between_is_no_change() -> None:
    clock = Clock()
    log = Rollouts(clock)
    for web, job in (("ab", "a"), ("abc", "b"), ("ab", "c"), ("c", "a"), ("c", "b"), ("c", "a")):
        clock.now += 60
        log.take(log.compare(placed(web=web, job=job)))
    since = NOW + 4 * 60
    assert between(log.all(), 0, 2 * NOW) == [
        Rollout(since, since, "shop", "Deployment", "web", "zones", "a, b", "c")
    ]


def test_the_zone_of_an_only_pod_that_is_replaced_is_remembered_for_a_while() -> None:
    log = Rollouts(Clock())
    log.take(log.compare(placed(web="a", old="a")))
    for _ in range(3):
        log.take(log.compare(placed(old="a")))
    for _ in range(2):
        log.take(log.compare(placed(web="b", old="a")))
    assert told(log) == [("zones", "a", "b")]
    for _ in range(ABSENT_SAMPLES + 1):
        log.take(log.compare(placed(old="a")))
    for _ in range(2):
        log.take(log.compare(placed(web="c", old="a")))
    assert told(log) == [("zones", "a", "b")]


def test_workloads_beyond_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kzn.topology.rollouts.MAX_PLACED", 2)
    log = Rollouts(Clock())
    log.compare(placed(w1="a", w2="a"))
    log.compare(placed(w1="a", w2="a", w3="a", w4="b"))
    assert log.unplaced == 2
    log.compare(placed(w1="a", w2="a"))
    assert log.unplaced == 0


def test_of_too_many_changes_the_newest_stay_and_it_is_said_from_when_on() -> None:
    clock = Clock()
    log = Rollouts(clock, most=100)
    for number in range(150):
        log.put_replicaset(replicaset(f"r{number}", f"web-{number}", NOW - number))
    assert len(log) <= 100
    assert told(log)[0][2] == "web-0"
    # Of what is complete everything is there, and nothing of what was left out comes back.
    kept = {one.time for one in log.all()}
    assert kept >= {NOW - number for number in range(150) if NOW - number > log.complete_from}
    log.put_replicaset(replicaset("r149", "web-149", NOW - 149))
    assert NOW - 149 not in {one.time for one in log.all()}
    clock.now = NOW + KEEP_SECONDS + 1
    for number in range(150):
        log.put_controller(WEB, replace(WEB, images=("app", f"web:{number + 2}")))
    assert {one.what for one in log.all()} == {"images"}


def test_texts_have_a_limit() -> None:
    log = Rollouts(Clock())
    log.put_controller(WEB, replace(WEB, images=("app", "x" * 5000)))
    assert [len(one.after) for one in log.all()] == [MAX_TEXT]


class Saved:
    """What a file has of a log, by its changes."""

    def __init__(self) -> None:
        self.rollouts: dict[str, Rollout] = {}
        self.watched: Watched | None = None

    def write(self, changes: LogChanges | None) -> int:
        """Returns how many changes were written."""
        assert changes is not None
        for key in changes.removed:
            del self.rollouts[key]
        self.rollouts |= changes.rollouts
        self.watched = changes.watched
        return len(changes.removed) + len(changes.rollouts)

    def log(self, clock: Clock, most: int = 20_000) -> Rollouts:
        log = Rollouts(clock, most=most)
        log.restore(self.rollouts, self.watched)
        return log


def test_a_restarted_log_goes_on_where_the_saved_one_was() -> None:
    clock, saved = Clock(), Saved()
    log = saved.log(clock)
    log.put_replicaset(replicaset("r1", "web-1", NOW - 5000))
    log.put_controller(None, WEB)
    log.put_controller(WEB, replace(WEB, images=("app", "web:2")))
    log.put_controller(WEB, replace(WEB, replicas=5))
    assert saved.write(log.changed()) == 3  # it was created more than 32 days ago
    assert saved.write(log.changed()) == 0
    before = between(log.all(), 0, 2 * NOW)
    clock.now += 100
    saved.write(log.changed())
    clock.now += 20
    log = saved.log(clock)
    assert between(log.all(), 0, 2 * NOW) == before
    assert (log.watched_from, log.gaps) == (NOW, ((NOW + 100, NOW + 120),))
    log.put_replicaset(replicaset("r1", "web-1", NOW - 5000))  # as the first list has it
    assert saved.write(log.changed()) == 0
    log.put_controller(replace(WEB, replicas=5), replace(WEB, replicas=7))
    log.put_controller(WEB, replace(WEB, images=("app", "web:3")))
    assert saved.write(log.changed()) == 2
    told = [(one.what, one.before, one.after, one.times) for one in saved.rollouts.values()]
    assert sorted(told) == [
        ("images", "web:1", "web:2", 1),
        ("images", "web:1", "web:3", 1),
        ("replicas", "3", "7", 2),
        ("replicaset", "", "web-1", 1),
    ]


def test_what_is_forgotten_is_removed_from_what_is_saved() -> None:
    clock, saved = Clock(), Saved()
    log = saved.log(clock, most=10)
    for number in range(25):
        clock.now += 1
        log.put_controller(WEB, replace(WEB, images=("app", f"web:{number + 2}")))
        if number in (4, 12, 24):
            changes = log.changed()
            assert changes is not None
            saved.rollouts |= dict.fromkeys(changes.removed, Rollout(0, 0, "", "", "", ""))
            saved.write(changes)
    assert sorted(saved.rollouts) == sorted(str(number) for number in log_keys(log))
    again = saved.log(clock, most=10)
    assert again.all() == sorted(log.all(), key=lambda one: one.until)
    assert again.complete_from == log.complete_from > 0
    clock.now += KEEP_SECONDS + 1
    late = saved.log(clock)
    assert late.all() == []
    assert saved.write(late.changed()) == len(log.all())
    assert not saved.rollouts


def log_keys(log: Rollouts) -> list[int]:
    """The numbers of the images that a log has: the first change is 1, to web:2."""
    return [int(one.after.removeprefix("web:")) - 1 for one in log.all()]


def test_gaps_are_bounded_and_a_clock_that_was_set_back_makes_none() -> None:
    clock, saved = Clock(), Saved()
    for _ in range(MAX_GAPS + 3):
        log = saved.log(clock)
        clock.now += 60
        saved.write(log.changed())
        clock.now += 10
    log = saved.log(clock)
    assert len(log.gaps) == MAX_GAPS
    assert log.watched_from == log.gaps[0][0] - 60
    clock.now -= 1000
    saved.write(log.changed())
    clock.now -= 1000
    assert len(saved.log(clock).gaps) < MAX_GAPS
    assert all(begin < end <= clock.now for begin, end in saved.log(clock).gaps)


def test_without_a_file_nothing_is_kept_to_be_saved() -> None:
    log = Rollouts(Clock())
    log.put_replicaset(replicaset("r1", "web-1", NOW - 5000))
    assert log.changed() is None
