"""Settings as bytes, and the digest by which pinned maps are adopted or replaced."""

import struct
import time

import pytest

from kzn.probes.settings import CLOCK_MONOTONIC_COARSE, Settings


def test_seconds_until_dormant_are_given_in_jiffies() -> None:
    jiffies, ports, *_ = struct.unpack("<QIIQ6Q", Settings().constants())
    assert jiffies == round(600 / time.clock_getres(CLOCK_MONOTONIC_COARSE))
    assert jiffies in (600 * 100, 600 * 250, 600 * 300, 600 * 1000)
    assert ports == 1


@pytest.mark.parametrize(
    ("flows", "rows"),
    [(1, 2), (64, 128), (65, 256), (65_536, 1 << 17), (1 << 20, 1 << 17)],
)
def test_a_buffer_has_two_rows_for_each_flow_within_a_limit(flows: int, rows: int) -> None:
    settings = Settings(max_flows=flows)
    shift = struct.unpack("<QIIQ6Q", settings.constants())[3]
    assert settings.rows == rows == 1 << (64 - shift)


def test_the_factors_of_the_hash_are_odd_and_differ_at_each_load() -> None:
    one, other = (struct.unpack("<QIIQ6Q", Settings().constants())[4:] for _ in range(2))
    assert all(factor % 2 for factor in (*one, *other))
    assert len({*one, *other}) == 12


def test_any_change_of_settings_or_object_changes_the_digest() -> None:
    digests = {
        Settings().digest(b"object"),
        Settings().digest(b"other object"),
        Settings(ports="all").digest(b"object"),
        Settings(max_flows=1).digest(b"object"),
        Settings(dormant_seconds=1).digest(b"object"),
    }
    assert len(digests) == 5
    assert Settings().digest(b"object") in digests
