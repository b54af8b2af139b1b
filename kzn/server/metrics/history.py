"""The metrics of the history: its books, by class, and the work of its writer."""

from collections.abc import Iterator, Sequence

from kzn.daemon.metrics import BYTE, Kind, Metric, MetricSamples, Sample, single
from kzn.model.settled import CLASSES, ByClass, Sum
from kzn.server.stats import HistoryCounts

REASONS = (
    "queue_full",
    "writer_gone",
    "disk_full",
    "io",
    "memory",
    "overflow",
    "too_late",
    "fault",
)
"""Why flows are not recorded."""

MERGE_REASONS = ("damaged", "disk_full", "gone", "io", "memory", "sums")
"""Why a merge failed."""


def history_metrics(counts: HistoryCounts) -> Iterator[MetricSamples]:
    """For each class: settled = recorded + dropped + lost at restarts + open."""
    yield from _books(counts)
    yield single(
        "kzn_server_history_segments_total",
        "counter",
        "Segments of minutes that were written to the history.",
        counts.segments,
    )
    yield single(
        "kzn_server_history_write_seconds_total",
        "counter",
        "Time from the end of a minute's fold to its durable segment.",
        round(counts.write_seconds, 6),
    )
    yield single(
        "kzn_server_history_writer_starts_total",
        "counter",
        "Starts of the writer process of the history; more than one if it ended by itself.",
        counts.writer_starts,
    )
    failed = dict.fromkeys(MERGE_REASONS, 0) | dict(counts.failed_merges)
    yield MetricSamples(
        Metric(
            "kzn_server_history_failed_merges_total",
            "counter",
            ("reason",),
            "Merges and rollups of files that failed, by reason; all but damaged are repeated.",
        ),
        [((reason,), number) for reason, number in failed.items()],
    )
    yield single(
        "kzn_server_history_recorded_until_seconds",
        "gauge",
        "Unix time of before which everything is recorded, dropped or lost; 0 without a history.",
        counts.until,
    )


def _books(counts: HistoryCounts) -> Iterator[MetricSamples]:
    yield from _by_class(
        "settled", "counter", "of flows with a final verdict, as the ledger has them", counts.ledger
    )
    yield from _by_class(
        "history_recorded", "counter", "that are durable in the history", counts.recorded
    )
    yield from _by_class(
        "history_lost_at_restart",
        "counter",
        "that the ledger has and that were not recorded when a server ended",
        counts.lost,
    )
    yield from _by_class(
        "history_open", "gauge", "that are on their way into the history", counts.open
    )
    yield from _by_class(
        "history_lost_before",
        "gauge",
        "that the server before this one had not recorded; its counters ended with it",
        counts.lost_before,
    )
    dropped = {
        (reason, name): amount
        for reason, sums in sorted(counts.dropped.items())
        for name, amount in sums.items()
    }
    known = [(reason, name) for reason in REASONS for name in CLASSES]
    rows = {key: dropped.get(key, Sum()) for key in [*known, *dropped]}
    yield from _pair(
        "history_dropped",
        "counter",
        "that could not be recorded, by reason",
        ("class", "reason"),
        [((name, reason), amount) for (reason, name), amount in rows.items()],
    )


def _by_class(name: str, kind: Kind, text: str, sums: ByClass) -> Iterator[MetricSamples]:
    rows = [((one,), sums.get(one, Sum())) for one in CLASSES]
    yield from _pair(name, kind, text, ("class",), rows)


def _pair(
    name: str,
    kind: Kind,
    text: str,
    labels: tuple[str, ...],
    rows: Sequence[tuple[tuple[str, ...], Sum]],
) -> Iterator[MetricSamples]:
    end = "_total" if kind == "counter" else ""
    sizes: list[Sample] = [(values, amount.bytes) for values, amount in rows]
    yield MetricSamples(
        Metric(f"kzn_server_{name}_bytes{end}", kind, labels, f"Bytes {text} ({BYTE})."), sizes
    )
    packets: list[Sample] = [(values, amount.packets) for values, amount in rows]
    yield MetricSamples(
        Metric(f"kzn_server_{name}_packets{end}", kind, labels, f"Packets {text}."), packets
    )
