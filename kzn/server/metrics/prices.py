"""The metrics of prices: what a byte costs between two zones, and the lists that say so.

In: a snapshot. Out: samples. Never: a sample of a pair of zones without a known price.
"""

from collections.abc import Iterator

from kzn.daemon.metrics import Metric, MetricSamples, Sample
from kzn.server.ledger.family import SIDES, ZONE
from kzn.server.metrics.text import MoreSamples
from kzn.server.snapshot import ServerSnapshot

_PRICE = Metric(
    "kzn_traffic_price",
    "gauge",
    ("src_zone", "dst_zone", "class", "side", "currency"),
    "Price of a byte at the side that is billed, in units of the currency.",
)
_LIST = Metric(
    "kzn_price_list_info",
    "gauge",
    ("provider", "list", "currency", "valid_from", "date"),
    "1 for a price list in use; date is when its source was read.",
)


def price_metrics(snapshot: ServerSnapshot) -> Iterator[MoreSamples]:
    """The prices of all pairs of zones with traffic; nothing without prices."""
    if not snapshot.ledger.views.keys() & {"workload_cost", "caused_cost", "zone_cost"}:
        return
    yield MetricSamples(_PRICE, list(_prices(snapshot)))
    yield None
    lists = sorted(snapshot.prices.lists, key=lambda one: (one.provider, one.name))
    yield MetricSamples(
        _LIST,
        [
            ((one.provider, one.name, one.currency, str(one.valid_from), str(one.date)), 1)
            for one in lists
        ],
    )


def _prices(snapshot: ServerSnapshot) -> Iterator[Sample]:
    prices, tables = snapshot.prices, snapshot.ledger.tables
    labels = ZONE.labels_of(prices.keys, tables)
    columns = (column.tolist() for column in (prices.currency, prices.sender, prices.receiver))
    for zones, currency, *both in zip(labels, *columns, strict=True):
        (name,) = tables["currency"][currency]
        for side, price in zip(SIDES, both, strict=True):
            yield (*zones, side, name), price
