"""Flows of both buffers as rows, their rates and their order."""

import pytest
from snapshots import Key, buffer, snapshot

from kzn.agent.inspect.rows import FlowRow, Rates, Sort, ordered
from kzn.model.flows import INITIATOR_DESTINATION, PORT_OF_SOURCE
from kzn.model.totals import Counts

WEB = Key("10.1.0.7", "10.2.0.9", 443)
DNS = Key("fd00::7", "fd00::9", 53, 17)


def grown(size: int) -> dict[int, Counts]:
    return {0: Counts(1, size)}


def rate(rows: list[FlowRow], key: Key) -> float:
    [row] = [row for row in rows if row.id.src == key.src]
    return row.rate


def test_a_row_is_the_sum_of_both_buffers_and_all_cpus() -> None:
    active = buffer(0, "active", {WEB: {0: Counts(1, 10), 3: Counts(2, 20)}})
    flying = buffer(1, "in flight", {WEB: {1: Counts(4, 400)}})
    [row] = Rates().rows(snapshot(active, flying))
    assert row.id == ("10.1.0.7", "10.2.0.9", "tcp", 0, 443, "", False)
    assert row.counts == (7, 430)
    assert [(part.buffer, part.counts) for part in row.parts] == [(0, (3, 30)), (1, (4, 400))]
    assert active.entries.per_cpu(row.parts[0].entry) == [(0, 1, 10), (3, 2, 20)]


def test_a_row_has_the_port_of_the_source_and_the_initiator() -> None:
    key = WEB._replace(flags=PORT_OF_SOURCE | INITIATOR_DESTINATION)
    [row] = Rates().rows(snapshot(buffer(0, "active", {key: grown(1)})))
    assert row.id[3:6] == (443, 0, "destination")


def test_the_first_rate_is_over_the_age_of_the_active_buffer() -> None:
    active = buffer(0, "active", {WEB: grown(100)}, opened=6.0)
    flying = buffer(1, "in flight", {WEB: grown(10**6), DNS: grown(10**6)}, opened=1.0, until=6.0)
    rows = Rates().rows(snapshot(active, flying, taken=10.0))
    assert (rate(rows, WEB), rate(rows, DNS)) == (25.0, 0.0)


def test_a_later_rate_is_over_the_time_between_two_snapshots() -> None:
    rates = Rates()
    rates.rows(snapshot(buffer(0, "active", {WEB: grown(100)}), taken=10.0))
    rows = rates.rows(
        snapshot(buffer(0, "active", {WEB: grown(160), DNS: grown(8)}, until=12.0), taken=12.0)
    )
    assert (rate(rows, WEB), rate(rows, DNS)) == (30.0, 4.0)
    rows = rates.rows(snapshot(buffer(0, "active", {WEB: grown(160)}, until=13.0), taken=13.0))
    assert rate(rows, WEB) == 0.0


def test_over_a_cut_the_rate_includes_the_buffer_in_flight() -> None:
    rates = Rates()
    rates.rows(snapshot(buffer(0, "active", {WEB: grown(100)}), taken=10.0))
    active = buffer(1, "active", {WEB: grown(40)}, opened=11.0, until=12.0)
    flying = buffer(0, "in flight", {WEB: grown(160)}, until=11.0)
    assert rate(rates.rows(snapshot(active, flying, taken=12.0)), WEB) == 50.0


def test_over_a_cut_and_an_ack_the_rate_is_over_the_new_buffers_age() -> None:
    rates = Rates()
    rates.rows(snapshot(buffer(0, "active", {WEB: grown(100)}), taken=10.0))
    active = buffer(1, "active", {WEB: grown(40)}, opened=11.5, until=12.0)
    assert rate(rates.rows(snapshot(active, taken=12.0)), WEB) == 80.0


def test_over_a_time_too_short_the_rate_stays_and_no_byte_is_lost() -> None:
    rates = Rates()
    rates.rows(snapshot(buffer(0, "active", {WEB: grown(100)}), taken=10.0))
    soon = snapshot(buffer(0, "active", {WEB: grown(150)}, until=10.1), taken=10.1)
    assert rate(rates.rows(soon), WEB) == 10.0
    later = snapshot(buffer(0, "active", {WEB: grown(160)}, until=12.0), taken=12.0)
    assert rate(rates.rows(later), WEB) == 30.0


@pytest.mark.parametrize(
    ("by", "sources"),
    [
        ("bytes", ["10.0.0.9", "fd00::1", "10.0.0.10"]),
        ("packets", ["10.0.0.10", "10.0.0.9", "fd00::1"]),
        ("rate", ["10.0.0.9", "fd00::1", "10.0.0.10"]),
        ("source", ["10.0.0.9", "10.0.0.10", "fd00::1"]),
        ("destination", ["10.0.0.10", "10.0.0.9", "fd00::1"]),
    ],
)
def test_rows_are_sorted_largest_first_or_by_numeric_address(by: Sort, sources: list[str]) -> None:
    flows = {
        Key("10.0.0.10", "10.0.0.2"): {0: Counts(9, 10)},
        Key("10.0.0.9", "10.0.0.11"): {0: Counts(2, 30)},
        Key("fd00::1", "fd00::2"): {0: Counts(2, 20)},
    }
    rows = Rates().rows(snapshot(buffer(0, "active", flows)))
    assert [row.id.src for row in ordered(rows, by)] == sources
