"""Consumers that fetch from brokers of other zones."""

import pytest
from advice_world import GIB, of_rule, party, service, talk, workload, world

APP, KAFKA = party("shop/app"), party("data/kafka", "StatefulSet")
SIZES = {("a", "b"): (GIB, 9 * GIB), ("a", "a"): (GIB, 5 * GIB), ("c", "b"): (0, 4 * GIB)}
BROKERS = workload(KAFKA, {"a": 1, "b": 1})


def headless(port: int = 9092, *, is_headless: bool = True) -> object:
    return service("data/kafka", KAFKA, {"a": 1, "b": 1}, port, is_headless=is_headless)


def test_what_comes_from_brokers_stays_where_there_are_some() -> None:
    found = world(talk(APP, KAFKA, SIZES, 9092), [headless()], [BROKERS])  # type: ignore[list-item]
    (one,) = of_rule(found, "kafka-consumers")
    assert one.saved_bytes == 9 * GIB  # c has no broker, and what is sent goes to leaders
    assert "client.rack" in one.draft.change.yaml
    assert of_rule(found, "same-zone") == []


@pytest.mark.parametrize(
    ("port", "is_headless", "sizes"),
    [
        (9000, True, SIZES),
        (9092, False, SIZES),
        (9092, True, {("a", "b"): (9 * GIB, GIB)}),  # a producer
        (9092, True, {("c", "b"): (0, GIB)}),
        (9092, True, {("a", "a"): (0, GIB)}),
    ],
)
def test_it_is_silent(
    port: int, is_headless: bool, sizes: dict[tuple[str, str], tuple[int, int]]
) -> None:
    services = [headless(port, is_headless=is_headless)]
    found = world(talk(APP, KAFKA, sizes, port), services, [BROKERS])  # type: ignore[arg-type]
    assert of_rule(found, "kafka-consumers") == []
