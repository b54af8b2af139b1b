"""What the demo's traffic would cost in a month at its rate, by the shipped price lists: pure.

In: the pairs of the report, the seconds of traffic, a day. Out: a row for each provider.
"""

from collections.abc import Iterable
from datetime import date

from kzn.demo.report import MonthRow, PairRow
from kzn.pricing import aws, azure, gcp
from kzn.pricing.book import PriceBook
from kzn.pricing.traffic import Quote, Traffic

MONTH_HOURS = 730
"""Hours of an average month."""
PROVIDERS = {"aws": "AWS", "gcp": "Google Cloud", "azure": "Azure"}
BOOK = PriceBook([aws.PRICES, gcp.PRICES, azure.PRICES])


def month_rows(pairs: Iterable[PairRow], seconds: float, day: date) -> tuple[MonthRow, ...]:
    """A row for each of `PROVIDERS`; none without traffic or time. All pairs are of one region."""
    counted = {"same_zone": 0, "cross_zone": 0}
    for row in pairs:
        if row.dst_zone:  # what leaves the cluster has other prices
            counted["cross_zone" if row.crosses else "same_zone"] += row.counted_bytes
    if not seconds or not sum(counted.values()):
        return ()
    factor = MONTH_HOURS * 3600 / seconds
    return tuple(_row(provider, counted, factor, day) for provider in PROVIDERS)


def _row(provider: str, counted: dict[str, int], factor: float, day: date) -> MonthRow:
    quotes = [
        (BOOK.quote(Traffic(cls, src_provider=provider, dst_provider=provider), day), size)
        for cls, size in counted.items()
    ]
    # The shipped lists have a price for both classes, from long ago on.
    priced = [(quote, size * factor) for quote, size in quotes if isinstance(quote, Quote)]
    return MonthRow(
        provider=provider,
        bytes=round(counted["cross_zone"] * factor),
        sender=sum(quote.sender * size for quote, size in priced),
        receiver=sum(quote.receiver * size for quote, size in priced),
        currency=priced[0][0].currency,
        date=str(max(quote.date for quote, _ in priced)),
    )
