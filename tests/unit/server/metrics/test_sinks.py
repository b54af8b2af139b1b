"""The metrics of sinks: every segment is in one number, also under reasons of a plugin."""

from kzn.server.metrics.sinks import sink_metrics
from kzn.sinks.spool import REASONS, Amount, SinkCounts


def test_each_sink_has_its_numbers_and_every_known_reason() -> None:
    counts = SinkCounts(
        "east", Amount(3, 30), {"too_wide": Amount(1, 9)}, Amount(2, 20), 61.5, 4, 0.25
    )
    found = {
        (metric.name.removeprefix("kzn_server_sink_"), labels): value
        for metric, samples, *_ in sink_metrics([counts])
        for labels, value in samples
    }
    east = ("east",)
    expected = {
        ("delivered_segments_total", east): 3,
        ("delivered_file_bytes_total", east): 30,
        ("waiting_segments", east): 2,
        ("waiting_file_bytes", east): 20,
        ("lag_seconds", east): 61.5,
        ("failures_total", east): 4,
        ("put_seconds_total", east): 0.25,
        ("dropped_segments_total", ("east", "too_wide")): 1,
        ("dropped_file_bytes_total", ("east", "too_wide")): 9,
    }
    for reason in REASONS:
        expected["dropped_segments_total", ("east", reason)] = 0
        expected["dropped_file_bytes_total", ("east", reason)] = 0
    assert found == expected
