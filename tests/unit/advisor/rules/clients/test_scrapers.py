"""One workload that fetches from many in other zones."""

from advice_world import GIB, of_rule, party, talk, workload, world

from kzn.advisor.facts import Flow

PROMETHEUS = party("infra/prometheus", "StatefulSet")


def fetches(targets: int, out: int = 1, back: int = 99) -> list[Flow]:
    flows = []
    for number in range(targets):
        sizes = {("a", "b"): (out * GIB, back * GIB), ("a", "a"): (GIB, 99 * GIB)}
        flows += talk(PROMETHEUS, party(f"shop/app-{number}"), sizes, 9100)
    return flows


def test_five_targets_that_cross_are_a_scraper() -> None:
    (one,) = of_rule(world(fetches(5)), "scrapers")
    assert one.saved_bytes == 500 * GIB
    assert "source_labels" in one.draft.change.yaml


def test_a_scraper_in_as_many_zones_as_its_targets_is_none_that_zones_divide() -> None:
    for pods, expected in (({"a": 1}, 1), ({"a": 1, "c": 1}, 0), ({"a": 1, "b": 1, "c": 0}, 0)):
        found = world(fetches(5), workloads=[workload(PROMETHEUS, pods)])
        assert len(of_rule(found, "scrapers")) == expected
    more = fetches(5) + talk(PROMETHEUS, party("shop/app-0"), {("a", "c"): (GIB, 99 * GIB)}, 9100)
    found = world(more, workloads=[workload(PROMETHEUS, {"a": 1, "b": 1})])
    assert len(of_rule(found, "scrapers")) == 1


def test_few_targets_and_bytes_that_are_sent_are_not() -> None:
    assert of_rule(world(fetches(4)), "scrapers") == []
    assert of_rule(world(fetches(5, out=50, back=50)), "scrapers") == []
    more = talk(PROMETHEUS, party("shop/store"), {("a", "b"): (600 * GIB, 0)}, 9090)
    assert of_rule(world(fetches(5) + more), "scrapers") == []
