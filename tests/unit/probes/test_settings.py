"""Settings as bytes, and the digest by which pinned maps are adopted or replaced."""

import struct
import time

from kzn.probes.settings import CLOCK_MONOTONIC_COARSE, Settings


def test_seconds_until_dormant_are_given_in_jiffies() -> None:
    jiffies, ports, _ = struct.unpack("<QII", Settings().constants())
    assert jiffies == round(600 / time.clock_getres(CLOCK_MONOTONIC_COARSE))
    assert jiffies in (600 * 100, 600 * 250, 600 * 300, 600 * 1000)
    assert ports == 1


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
