"""kzn/topology/kube/list_watch.py: list, watch, and every fault, without a network."""

import json
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

import pytest

from kzn.errors import UsageError
from kzn.topology.facts import OwnerFacts
from kzn.topology.kube.api_objects import Owner
from kzn.topology.kube.errors import KubeError
from kzn.topology.kube.list_watch import LONGEST_RETRY_AFTER, ListWatch, Sink
from kzn.topology.kube.resources import REPLICASET_RESOURCE


def obj(uid: str, version: int = 1) -> dict[str, Any]:
    return {"metadata": {"name": uid, "uid": uid, "resourceVersion": str(version)}}


def body(*items: dict[str, Any], version: str = "100", more: str = "") -> bytes:
    meta = {"resourceVersion": version, "continue": more}
    return json.dumps({"metadata": meta, "items": items}).encode()


def event(kind: str, item: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode()


def error(reason: str, **more: Any) -> KubeError:
    return KubeError("it failed", reason=reason, **more)


@dataclass
class Rig:
    """A machine with a sink that keeps what it is told."""

    now: float = 50.0
    told: list[tuple[str, str, int]] = field(default_factory=list)
    list_watch: ListWatch[Owner, OwnerFacts] = field(init=False)

    def __post_init__(self) -> None:
        sink: Sink[OwnerFacts] = Sink(
            put=lambda item, listing: self.told.append(("put", item.uid, listing)),
            drop=lambda uid: self.told.append(("drop", uid, 0)),
        )
        rng = Random(1)
        self.list_watch = ListWatch(
            REPLICASET_RESOURCE, sink, clock=lambda: self.now, rng=rng, listings=count(1)
        )

    def listed(self, *uids: str) -> "Rig":
        self.list_watch.request()
        self.list_watch.page(body(*(obj(uid) for uid in uids)))
        self.list_watch.request()
        self.list_watch.opened()
        self.told.clear()
        return self


def test_it_lists_in_pages_and_then_watches_from_the_lists_version() -> None:
    rig = Rig()
    first = rig.list_watch.request()
    assert (first.is_watch, first.parameters) == (False, {"limit": "500"})
    assert "PartialObjectMetadataList" in first.accept
    rig.list_watch.page(body(obj("a"), more="tok"))
    assert not rig.list_watch.is_listed
    assert rig.list_watch.request().parameters == {"limit": "500", "continue": "tok"}
    rig.list_watch.page(body(obj("b"), version="123"))
    assert rig.list_watch.is_listed
    watch = rig.list_watch.request()
    assert watch.is_watch
    assert watch.parameters["resourceVersion"] == "123"
    assert watch.parameters["allowWatchBookmarks"] == "true"
    assert 240 <= int(watch.parameters["timeoutSeconds"]) <= 480
    assert rig.told == [("put", "a", 1), ("put", "b", 1)]
    assert rig.list_watch.wait() == 0


def test_events_are_told_and_the_watch_resumes_after_the_last_of_them() -> None:
    rig = Rig().listed("a")
    rig.list_watch.line(event("ADDED", obj("b", 101)))
    rig.list_watch.line(event("MODIFIED", obj("a", 102)))
    rig.list_watch.line(event("DELETED", obj("a", 103)))
    assert rig.told == [("put", "b", 0), ("put", "a", 0), ("drop", "a", 0)]
    assert rig.list_watch.request().parameters["resourceVersion"] == "103"
    rig.list_watch.line(event("BOOKMARK", obj("", 250)))
    assert rig.list_watch.request().parameters["resourceVersion"] == "250"
    stats = rig.list_watch.stats()
    assert (stats.objects, stats.events, stats.lists, stats.watches) == (1, 3, 1, 1)


def test_a_list_after_an_expired_watch_tells_what_has_vanished() -> None:
    rig = Rig().listed("a", "b")
    rig.list_watch.line(event("ADDED", obj("c", 101)))
    rig.told.clear()
    with pytest.raises(KubeError) as caught:
        rig.list_watch.line(b'{"type":"ERROR","object":{"code":410,"message":"too old"}}')
    assert rig.list_watch.failed(caught.value) == "expired"
    request = rig.list_watch.request()
    assert (request.is_watch, request.parameters) == (False, {"limit": "500"})
    rig.list_watch.page(body(obj("b"), more="tok"))
    assert rig.told == [("put", "b", 2)]  # nothing vanishes before the last page
    rig.list_watch.page(body(obj("d")))
    assert rig.told[1] == ("put", "d", 2)
    assert sorted(rig.told[2:]) == [("drop", "a", 0), ("drop", "c", 0)]
    assert rig.list_watch.stats().objects == 2


def test_an_expired_watch_by_http_status_lists_anew_too() -> None:
    rig = Rig().listed("a")
    rig.list_watch.failed(error("expired", status=410))
    assert not rig.list_watch.request().is_watch


def test_an_expired_continue_token_starts_over_with_larger_pages_and_at_last_one() -> None:
    rig, limits = Rig(), []
    for _ in range(4):
        limits.append(rig.list_watch.request().parameters.get("limit"))
        rig.list_watch.page(body(obj("a"), more="tok"))
        rig.list_watch.failed(error("expired", status=410))
    assert limits == ["500", "2000", "8000", None]
    assert rig.list_watch.request().parameters == {}
    rig.list_watch.page(body(obj("b")))
    assert ("drop", "a", 0) in rig.told


def test_a_failed_page_is_asked_for_again_and_the_pages_before_it_stay() -> None:
    rig = Rig()
    rig.list_watch.request()
    rig.list_watch.page(body(obj("a"), more="tok"))
    rig.list_watch.failed(error("connection"))
    assert rig.list_watch.request().parameters["continue"] == "tok"
    rig.list_watch.page(body(obj("b")))
    assert rig.told == [("put", "a", 1), ("put", "b", 1)]


def test_a_disconnect_resumes_the_watch_after_a_wait() -> None:
    rig = Rig().listed("a")
    rig.list_watch.failed(error("connection"))
    assert rig.list_watch.wait() > 0
    assert rig.list_watch.wait() == 0
    assert rig.list_watch.request().parameters["resourceVersion"] == "100"


def test_waits_grow_to_a_bound_and_start_small_after_progress() -> None:
    rig = Rig().listed("a")
    waits = []
    for _ in range(200):
        rig.list_watch.failed(error("connection"))
        waits.append(rig.list_watch.wait())
    assert max(waits[:2]) <= 2
    assert 20 < max(waits) <= 30
    rig.list_watch.line(event("ADDED", obj("b", 101)))
    rig.list_watch.failed(error("connection"))
    assert rig.list_watch.wait() <= 1


def test_listing_alone_is_no_progress_so_that_a_watch_that_always_expires_slows_down() -> None:
    rig, total = Rig(), 0.0
    for _ in range(40):
        rig.listed("a")
        rig.list_watch.failed(error("expired", status=410))
        total += rig.list_watch.wait()
    assert total > 200


def test_retry_after_is_kept_to_up_to_a_bound() -> None:
    rig = Rig().listed("a")
    rig.list_watch.failed(error("throttled", status=429, retry_after=17.0))
    assert 17 <= rig.list_watch.wait() <= 18
    rig.list_watch.failed(error("throttled", status=429, retry_after=1e9))
    assert rig.list_watch.wait() <= LONGEST_RETRY_AFTER + 30


def test_a_broken_line_resumes_before_it_and_broken_twice_lists_anew() -> None:
    rig = Rig().listed("a")
    for expected in (True, False):
        with pytest.raises(KubeError) as caught:
            rig.list_watch.line(b'{"type": "ADD')
        assert rig.list_watch.failed(caught.value) == "bad_line"
        assert rig.list_watch.request().is_watch is expected


def test_an_object_that_cannot_be_read_is_counted_and_the_watch_goes_on() -> None:
    rig = Rig().listed("a")
    rig.list_watch.line(
        b'{"type":"MODIFIED","object":{"metadata":{"uid":"a","resourceVersion":"9"}}}'
    )
    assert rig.told == []
    assert rig.list_watch.stats().failures["undecodable"] == 1
    assert rig.list_watch.request().parameters["resourceVersion"] == "9"


def test_an_object_that_becomes_unreadable_in_a_list_has_not_vanished() -> None:
    rig = Rig().listed("a", "b")
    rig.list_watch.failed(error("expired"))
    rig.list_watch.request()
    rig.list_watch.page(body(obj("a"), {"metadata": {"uid": "b"}}))
    assert [told for told in rig.told if told[0] == "drop"] == []
    assert rig.list_watch.stats().failures["undecodable"] == 1


def test_an_event_of_an_unknown_type_is_counted() -> None:
    rig = Rig().listed("a")
    rig.list_watch.line(event("RENAMED", obj("a", 101)))
    assert rig.list_watch.stats().failures["unknown_event"] == 1


def test_a_page_that_is_none_and_a_list_without_version_are_bad_pages() -> None:
    for page in (b"<html>", body(version="")):
        rig = Rig()
        rig.list_watch.request()
        with pytest.raises(KubeError) as caught:
            rig.list_watch.page(page)
        assert rig.list_watch.failed(caught.value) == "bad_page"
        assert not rig.list_watch.is_listed
        assert not rig.list_watch.request().is_watch


def test_a_refused_watch_lists_anew_but_a_forbidden_one_does_not() -> None:
    rig = Rig().listed("a")
    rig.list_watch.failed(error("forbidden", status=403))
    assert rig.list_watch.request().is_watch
    rig.list_watch.failed(error("refused", status=400))
    assert not rig.list_watch.request().is_watch


def test_credentials_that_cannot_be_read_are_tried_again() -> None:
    rig = Rig()
    assert rig.list_watch.failed(UsageError("no such file")) == "credentials"
    assert rig.list_watch.wait() > 0


def test_a_watch_that_ends_at_once_again_and_again_is_slowed_down() -> None:
    rig = Rig().listed("a")
    waits = []
    for _ in range(50):
        rig.list_watch.opened()
        rig.list_watch.ended()
        waits.append(rig.list_watch.wait())
    assert sum(waits) > 200
    rig.now += 60
    rig.list_watch.ended()
    assert rig.list_watch.wait() == 0


def test_staleness_is_the_time_since_the_api_server_was_last_heard() -> None:
    rig = Rig()
    rig.now = 60.0
    assert rig.list_watch.stats().staleness == 10
    rig.listed("a")
    rig.now = 75.0
    assert rig.list_watch.stats().staleness == 15
    rig.list_watch.line(event("BOOKMARK", obj("", 250)))
    assert rig.list_watch.stats().staleness == 0
