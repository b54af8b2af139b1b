"""kzn/server/metrics/text.py: what any label value becomes, read by prometheus_client's parser."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from kzn.daemon.metrics import Metric
from kzn.server.ledger.family import FAMILIES, Row
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.metrics.text import (
    CHUNK,
    LabelTexts,
    column_lines,
    head,
    label_texts,
    lines,
    series,
)

VALUE = st.text('abz"\\\n\r\t %s{},=\u00e4\U0001f642', max_size=8)
NAMES = st.tuples(VALUE, VALUE)
METRIC = Metric("a_total", "counter", ("one", "two"), "For a test.")


def read(metric: Metric, pieces: Iterator[bytes]) -> dict[tuple[str, ...], float]:
    text = (head(metric, openmetrics=False) + b"".join(pieces)).decode()
    return {
        tuple(sample.labels[label] for label in metric.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == metric.name
    }


@given(st.dictionaries(NAMES, st.integers(0, 2**52) | st.floats(0, 1e12), max_size=5))
def test_lines_read_as_what_was_written(samples: dict[tuple[str, str], float]) -> None:
    assert read(METRIC, lines(METRIC, list(samples.items()))) == samples
    times = [7.25 if at % 2 else 0.0 for at in range(len(samples))]
    text = b"".join(lines(METRIC, list(samples.items()), times))
    assert text.count(b"a_created{") == sum(1 for time in times if time)
    assert read(METRIC, iter([text])) == samples


@given(st.dictionaries(NAMES, st.integers(1, 2**52), max_size=5))
def test_series_read_as_what_was_counted(pods: dict[tuple[str, str], int]) -> None:
    ledger = Ledger(LedgerLimits())
    ledger.load([Row("pod", names, size) for names, size in pods.items()], 0.0)
    family = FAMILIES["pod"]
    metric = Metric(family.metric, "counter", family.labels, "For a test.")
    assert read(metric, series(ledger.snapshot(), family, metric)) == pods


def test_one_odd_name_among_thousands_changes_no_other_line() -> None:
    names = [(f"n{number}", "x") for number in range(2 * CHUNK)]
    names[5], names[CHUNK + 1] = ('a"b', "x"), ("a\nb", "\\")
    samples = {name: float(number) for number, name in enumerate(names)}
    assert read(METRIC, lines(METRIC, list(samples.items()))) == samples


def test_families_of_one_snapshot_share_the_text_of_their_workloads() -> None:
    ledger = Ledger(LedgerLimits(priced=True))
    workload = ("shop", "Deployment", 'we"b')
    cost = Row("caused_cost", (*workload, "cross_zone", "USD"), 0)._replace(bytes=0.5)  # type: ignore[arg-type]
    side = Row("workload_cost", (*workload, "sender", "cross_zone", "EUR"), 0)._replace(bytes=0.25)  # type: ignore[arg-type]
    ledger.load([cost, side], 0.0)
    texts = LabelTexts()
    made = []
    for name, row in (("caused_cost", cost), ("workload_cost", side)):
        family = FAMILIES[name]
        metric = Metric(family.metric, "counter", family.labels, "For a test.")
        pieces = series(ledger.snapshot(), family, metric, texts=texts)
        assert read(metric, pieces) == {row.labels: row.bytes}
        made.append(texts.made)
    assert made[1] == made[0]


def test_a_scrape_formats_the_labels_alone_that_the_last_one_had_not() -> None:
    family = FAMILIES["pod"]
    metric = Metric(family.metric, "counter", family.labels, "For a test.")
    ledger, texts = Ledger(LedgerLimits(retention=1.0)), LabelTexts()
    gone = [Row("pod", ("shop", f"old-{number}"), number) for number in range(3_000)]
    stays = [Row("pod", ("shop", 'st"ays'), 7)]

    def scraped() -> tuple[dict[tuple[str, ...], float], int]:
        before = texts.made
        found = read(metric, series(ledger.snapshot(), family, metric, texts=texts))
        return found, texts.made - before

    ledger.load(gone, 0.0)
    found, made = scraped()
    assert found == {row.labels: row.bytes for row in gone}
    assert made >= len(gone)
    assert scraped() == (found, 0)
    ledger.load(stays, 0.0)
    assert scraped() == (found | {("shop", 'st"ays'): 7}, 1)
    ledger.sweep(100.0, lambda _: False)
    ledger.load([Row("pod", ("shop", "n\\ew"), 8)], 100.0)  # with the code of another one
    assert scraped() == ({("shop", "n\\ew"): 8}, 1)


def test_an_older_snapshot_reads_right_after_a_newer_one() -> None:
    family = FAMILIES["pod"]
    metric = Metric(family.metric, "counter", family.labels, "For a test.")
    ledger, texts = Ledger(LedgerLimits(retention=1.0)), LabelTexts()
    ledger.load([Row("pod", ("shop", f"old-{number}"), 1) for number in range(3_000)], 0.0)
    older = ledger.snapshot()
    ledger.sweep(100.0, lambda _: False)
    ledger.load([Row("pod", ("shop", "new"), 2)], 100.0)
    assert read(metric, series(ledger.snapshot(), family, metric, texts=texts)) == {
        ("shop", "new"): 2
    }
    found = read(metric, series(older, family, metric, texts=texts))
    assert found == {("shop", f"old-{number}"): 1 for number in range(3_000)}


@given(st.dictionaries(NAMES, st.integers(0, 2**63), max_size=5), st.data())
def test_columns_read_as_what_was_written(
    samples: dict[tuple[str, str], int], data: st.DataObject
) -> None:
    time = st.sampled_from([0.0, 7.25, 8.5])
    times = data.draw(st.lists(time, min_size=len(samples), max_size=len(samples)))
    columns = [
        label_texts("one", [one for one, _ in samples]),
        label_texts("two", [two for _, two in samples], last=True),
    ]
    plain = b"".join(column_lines(METRIC, columns, list(samples.values())))
    assert plain == b"".join(lines(METRIC, list(samples.items())))
    both = b"".join(column_lines(METRIC, columns, list(samples.values()), times))
    assert both == b"".join(lines(METRIC, list(samples.items()), times))


def test_a_piece_has_a_bounded_number_of_series() -> None:
    ledger = Ledger(LedgerLimits())
    size = 3 * CHUNK + 5
    ledger.load([Row("pod", ("shop", f"pod-{number}"), number) for number in range(size)], 0.0)
    family = FAMILIES["pod"]
    metric = Metric(family.metric, "counter", family.labels, "For a test.")
    texts = LabelTexts()
    found = series(ledger.snapshot(), family, metric, texts=texts)
    pieces = [piece.count(b"\n") for piece in found]
    assert max(pieces) == CHUNK
    assert sum(pieces) == size
    assert pieces.count(0) >= size // CHUNK  # the labels are made in pieces without a line
