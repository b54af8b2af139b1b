"""The metrics of budgets. In: their states. Out: samples, none of what is not known."""

from collections.abc import Iterator, Sequence

from kzn.daemon.metrics import Metric, MetricSamples
from kzn.reports.budget import BudgetState

_LABELS = ("budget",)
_AMOUNT = Metric(
    "kzn_budget_amount",
    "gauge",
    ("budget", "currency"),
    "The budget of a calendar month (UTC), in units of the currency.",
)
_USED = Metric(
    "kzn_budget_used_ratio",
    "gauge",
    _LABELS,
    "What of the month's budget is used, by the history; 1 is all of it.",
)
_FORECAST = Metric(
    "kzn_budget_forecast_ratio",
    "gauge",
    _LABELS,
    "What of the month's budget will be used at its end, at the rate of the last seven days.",
)
_UPDATED = Metric(
    "kzn_budget_updated_timestamp_seconds",
    "gauge",
    _LABELS,
    "When the history last said what of the budget is used.",
)


def budget_metrics(states: Sequence[BudgetState]) -> Iterator[MetricSamples]:
    """The samples of all budgets; nothing without budgets."""
    if not states:
        return
    yield MetricSamples(
        _AMOUNT, [((s.budget.name, s.budget.currency), s.budget.amount) for s in states]
    )
    for metric, values in (
        (_USED, [(s, s.used_ratio) for s in states]),
        (_FORECAST, [(s, s.forecast_ratio) for s in states]),
        (_UPDATED, [(s, s.at if s.used is not None else None) for s in states]),
    ):
        known = [((s.budget.name,), value) for s, value in values if value is not None]
        yield MetricSamples(metric, known)
