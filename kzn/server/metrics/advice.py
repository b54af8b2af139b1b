"""The metrics of advice: what its proposals would save in a month, by rule. Nothing before there is
an answer.
"""

from collections.abc import Iterator

from kzn.daemon.metrics import Metric, MetricSamples, single
from kzn.server.advice import AdviceSums

_SAVING = Metric(
    "kzn_advice_saving_per_month",
    "gauge",
    ("rule", "currency"),
    "What the proposals of a rule would save in a month, without what other rules save already.",
)


def advice_metrics(sums: AdviceSums) -> Iterator[MetricSamples]:
    """The savings of the last answer; rules without a saving have no sample."""
    if sums.by_rule is None:
        return
    yield MetricSamples(_SAVING, sorted(sums.by_rule.items()))
    yield single(
        "kzn_advice_proposals",
        "gauge",
        "Proposals of the advice for the usual window.",
        sums.proposals,
    )
