"""The metrics of sinks: what of the history is elsewhere, waits, or was dropped."""

from collections.abc import Iterator, Sequence

from kzn.daemon.metrics import Kind, Metric, MetricSamples
from kzn.sinks.spool import REASONS, Amount, SinkCounts

_Rows = Sequence[tuple[tuple[str, ...], Amount]]


def sink_metrics(sinks: Sequence[SinkCounts]) -> Iterator[MetricSamples]:
    """For each sink: spooled = delivered + dropped + waiting."""
    delivered = [((one.name,), one.delivered) for one in sinks]
    waiting = [((one.name,), one.waiting) for one in sinks]
    dropped = [
        ((one.name, reason), one.dropped.get(reason, Amount()))
        for one in sinks
        for reason in sorted({*REASONS, *one.dropped})
    ]
    yield from _pair("delivered", "counter", "that a sink has", ("sink",), delivered)
    yield from _pair(
        "dropped", "counter", "that a sink will not get, by reason", ("sink", "reason"), dropped
    )
    yield from _pair("waiting", "gauge", "that wait for a sink", ("sink",), waiting)
    yield MetricSamples(
        Metric(
            "kzn_server_sink_lag_seconds",
            "gauge",
            ("sink",),
            "Age of the oldest segment that waits for a sink; 0 if none waits.",
        ),
        [((one.name,), one.lag) for one in sinks],
    )
    yield MetricSamples(
        Metric(
            "kzn_server_sink_failures_total",
            "counter",
            ("sink",),
            "Attempts to deliver a segment that failed and are repeated.",
        ),
        [((one.name,), one.failures) for one in sinks],
    )
    yield MetricSamples(
        Metric(
            "kzn_server_sink_put_seconds_total",
            "counter",
            ("sink",),
            "Time of all attempts to deliver a segment.",
        ),
        [((one.name,), one.put_seconds) for one in sinks],
    )


def _pair(
    name: str, kind: Kind, text: str, labels: tuple[str, ...], rows: _Rows
) -> Iterator[MetricSamples]:
    end = "_total" if kind == "counter" else ""
    segments = Metric(
        f"kzn_server_sink_{name}_segments{end}", kind, labels, f"Segments of the history {text}."
    )
    yield MetricSamples(segments, [(values, amount.segments) for values, amount in rows])
    sizes = Metric(
        f"kzn_server_sink_{name}_file_bytes{end}", kind, labels, f"Bytes of the files {text}."
    )
    yield MetricSamples(sizes, [(values, amount.bytes) for values, amount in rows])
