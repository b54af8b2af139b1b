"""kzn/pricing/book.py and traffic.py: what a byte costs at both ends, and why it has no price."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.pricing.book import PriceBook
from kzn.pricing.declaration import Conversion, PriceList, Rule
from kzn.pricing.traffic import CLASSES, OUTSIDE, REASONS, Quote, Traffic, Unpriced

DAY = date(2026, 1, 1)
GIB = 1 << 30


def prices(*rules: Rule, **changes: object) -> PriceList:
    values: dict[str, object] = {
        "name": "list",
        "provider": "aws",
        "currency": "USD",
        "valid_from": DAY,
        "source": "the contract",
        "date": DAY,
    }
    return PriceList(rules=rules, **(values | changes))  # type: ignore[arg-type]


def between(cls: str = "cross_zone", **ends: str) -> Traffic:
    both = {"src_provider": "aws", "src_region": "r1", "dst_provider": "aws", "dst_region": "r1"}
    return Traffic(cls, **(both | ends))


def per_gib(found: Quote | Unpriced) -> tuple[float, float]:
    assert isinstance(found, Quote), found
    return round(found.sender * GIB, 12), round(found.receiver * GIB, 12)


def ask(book: PriceBook, traffic: Traffic, at: date = DAY) -> Quote:
    found = book.quote(traffic, at)
    assert isinstance(found, Quote), found
    return found


def why(book: PriceBook, traffic: Traffic, at: date = DAY) -> str:
    found = book.quote(traffic, at)
    assert isinstance(found, Unpriced), found
    assert found.reason in REASONS
    assert found.detail
    return found.reason


def test_both_ends_have_their_price_in_currency_per_byte() -> None:
    book = PriceBook([prices(Rule("cross_zone", 0.01, 0.02))])
    found = ask(book, between())
    assert (found.sender, found.receiver) == (0.01 / GIB, 0.02 / GIB)
    assert found.both == found.sender + found.receiver
    assert (found.currency, found.provider, found.list) == ("USD", "aws", "list")
    assert (found.source, found.date, found.valid_from) == ("the contract", DAY, DAY)
    assert found.rule == "cross_zone"
    assert not found.is_free


def test_the_gb_the_discount_and_the_rate_of_a_list_count() -> None:
    euro = Conversion("EUR", 0.9)
    book = PriceBook(
        [prices(Rule("cross_zone", 0.02, 0), gb_bytes=10**9, discount=0.25, conversion=euro)]
    )
    found = ask(book, between())
    assert found.sender == pytest.approx(0.02 / 1e9 * 0.75 * 0.9, rel=1e-15)
    assert found.currency == "EUR"


def test_the_first_rule_whose_regions_match_counts() -> None:
    book = PriceBook(
        [
            prices(
                Rule("cross_region", 1, 0, ("eu-*",), ("us-east-1", "us-west-*")),
                Rule("cross_region", 2, 0, ("eu-*",)),
            )
        ]
    )

    def sender(src: str, dst: str) -> float:
        return per_gib(book.quote(between("cross_region", src_region=src, dst_region=dst), DAY))[0]

    assert sender("eu-west-1", "us-east-1") == 1
    assert sender("eu-west-1", "us-west-2") == 1
    assert sender("eu-west-1", "us-east-2") == 2
    assert why(book, between("cross_region", src_region="us-east-1")) == "no_rule"


def test_what_has_no_price_says_why_and_is_never_zero() -> None:
    book = PriceBook([prices(Rule("cross_zone", 1, 1), Rule("cross_region", unpriced="ask us"))])
    assert why(book, between(src_provider="", dst_provider="")) == "no_provider"
    assert why(book, between(src_provider="kind", dst_provider="kind")) == "no_list"
    assert why(book, between(), DAY - timedelta(1)) == "not_valid"
    assert why(book, between("external")) == "no_rule"
    assert why(book, between(dst_provider="gcp")) == "providers_differ"
    assert why(book, between("cross_region")) == "left_unpriced"
    assert why(PriceBook([]), between()) == "no_list"


def test_free_is_a_price_that_says_so() -> None:
    found = ask(PriceBook([prices(Rule("same_zone"))]), between("same_zone"))
    assert found.is_free
    assert found.provider == "aws"


def test_an_end_without_a_provider_is_of_the_other_ends() -> None:
    book = PriceBook([prices(Rule("cross_zone", 1, 2))])
    assert per_gib(book.quote(between(dst_provider=""), DAY)) == (1, 2)
    assert per_gib(book.quote(between(src_provider=""), DAY)) == (1, 2)


def test_the_outside_end_of_external_traffic_pays_nothing_here() -> None:
    rules = Rule("external", 0.09, 0.5, ("*",), (OUTSIDE,)), Rule("external", 7, 0.01, (OUTSIDE,))
    book = PriceBook([prices(*rules)])
    sent = Traffic("external", src_provider="aws", src_region="r1")
    received = Traffic("external", dst_provider="aws", dst_region="r1")
    assert per_gib(book.quote(sent, DAY)) == (0.09, 0)
    assert per_gib(book.quote(received, DAY)) == (0, 0.01)
    assert ask(book, received).rule == "external outside to *"


def test_a_rule_for_every_region_is_for_the_outside_too() -> None:
    book = PriceBook([prices(Rule("external", 0.09, 0))])
    assert per_gib(book.quote(Traffic("external", src_provider="aws"), DAY)) == (0.09, 0)
    assert per_gib(book.quote(Traffic("external", dst_provider="aws"), DAY)) == (0, 0)


FAR_ENDS = (
    Rule("cross_zone", 1, 2),
    Rule("cross_zone", 3, 4, price_class="database", bills_far_end=False),
    Rule("cross_zone", 5, 6, price_class="peering"),
    Rule("cross_zone", 7, 8, price_class="public"),
)


@pytest.mark.parametrize(
    ("src", "dst", "wanted"),
    [
        ("", "", (1, 2)),
        ("", "peering", (5, 6)),
        ("peering", "", (5, 6)),
        ("", "database", (3, 0)),
        ("database", "", (0, 4)),
        ("database", "database", (0, 0)),
        ("peering", "database", (3, 0)),
        ("database", "peering", (0, 4)),
        ("peering", "public", (7, 6)),
        ("free", "peering", (0, 0)),
        ("", "free", (0, 0)),
    ],
)
def test_the_price_class_of_the_far_end_decides(
    src: str, dst: str, wanted: tuple[float, float]
) -> None:
    book = PriceBook([prices(*FAR_ENDS)])
    asked = between(src_price_class=src, dst_price_class=dst)
    assert per_gib(book.quote(asked, DAY)) == wanted


def test_a_price_class_that_no_rule_has_is_unpriced() -> None:
    book = PriceBook([prices(*FAR_ENDS)])
    assert why(book, between(dst_price_class="satellite")) == "no_rule"
    assert why(book, between("external", dst_price_class="peering")) == "no_rule"


def test_the_list_with_the_latest_start_counts_and_own_lists_go_before_defaults() -> None:
    later = date(2026, 6, 1)
    old = prices(Rule("cross_zone", 1, 0), name="old")
    new = prices(Rule("cross_zone", 2, 0), name="new", valid_from=later)
    default = prices(Rule("cross_zone", 9, 0), name="default", valid_from=date(2026, 7, 1))
    past = prices(Rule("cross_zone", 8, 0), name="past", valid_from=date(2020, 1, 1))
    book = PriceBook([new, old], [default, past])

    def name(at: date) -> str:
        return ask(book, between(), at).list

    assert name(date(2025, 12, 31)) == "past"
    assert name(DAY) == "old"
    assert name(datetime(2026, 5, 31, 23, 59, 59, tzinfo=UTC)) == "old"
    assert name(later) == "new"
    assert name(date(2026, 8, 1)) == "new"
    assert name(datetime(2026, 6, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "old"


def test_of_two_lists_with_one_start_the_last_counts() -> None:
    one, two = (prices(Rule("cross_zone", n, 0), name=str(n)) for n in (1, 2))
    assert ask(PriceBook([one, two]), between()).list == "2"


def test_a_list_ends_on_the_day_that_it_says() -> None:
    book = PriceBook([prices(Rule("cross_zone", 1, 0), valid_until=date(2026, 3, 1))])
    assert ask(book, between(), date(2026, 2, 28))
    assert why(book, between(), date(2026, 3, 1)) == "not_valid"


def test_the_book_tells_when_its_answers_can_change_next() -> None:
    one = prices(Rule("cross_zone", 1, 0), valid_until=date(2026, 3, 1))
    two = prices(Rule("cross_zone", 1, 0), valid_from=date(2026, 2, 1))
    book = PriceBook([one], [two])
    assert book.changes_after(date(2025, 1, 1)) == datetime(2026, 1, 1, tzinfo=UTC)
    assert book.changes_after(DAY) == datetime(2026, 2, 1, tzinfo=UTC)
    assert book.changes_after(datetime(2026, 2, 1, 0, 0, 1, tzinfo=UTC)) == datetime(
        2026, 3, 1, tzinfo=UTC
    )
    assert book.changes_after(date(2026, 3, 1)) is None


REGION = st.sampled_from(["", "r1", "eu-west-1", "us-east-1"])
PROVIDER = st.sampled_from(["", "aws", "gcp", "kind"])
CLASS = st.sampled_from(["", "free", "database", "peering", "other"])
TRAFFIC = st.builds(
    Traffic, st.sampled_from(CLASSES), PROVIDER, REGION, PROVIDER, REGION, CLASS, CLASS
)
DAYS = st.dates(date(2025, 12, 1), date(2026, 3, 1))


@given(TRAFFIC, DAYS, DAYS)
def test_an_answer_stays_until_the_book_says_that_it_can_change(
    traffic: Traffic, at: date, later: date
) -> None:
    lists = [
        prices(*FAR_ENDS, valid_from=date(2026, 1, 10), valid_until=date(2026, 2, 1)),
        prices(Rule("cross_zone", 7, 7), name="gcp", provider="gcp", valid_from=date(2026, 1, 20)),
    ]
    book = PriceBook(lists)
    at, later = sorted((at, later))
    change = book.changes_after(at)
    assert hash(traffic) == hash(Traffic(**{k: getattr(traffic, k) for k in Traffic.__slots__}))
    if change is None or change.date() > later:
        first, last = book.quote(traffic, at), book.quote(traffic, later)
        if isinstance(first, Unpriced) and isinstance(last, Unpriced):
            assert first.reason == last.reason
        else:
            assert first == last


def test_a_network_without_a_zone_has_no_price_unless_a_rule_is_for_it() -> None:
    out = Rule("external", 0.09, 0.0)
    outside = {"dst_provider": "", "dst_region": "", "dst_price_class": "no-zone"}
    sent = between("external", **outside)
    received = Traffic("external", "", "", "aws", "r1", "no-zone", "")
    book = PriceBook([prices(out)])
    assert (why(book, sent), why(book, received)) == ("no_zone", "no_zone")
    assert per_gib(ask(book, between("external", **(outside | {"dst_price_class": ""})))) == (
        0.09,
        0,
    )
    own = PriceBook([prices(Rule("external", 0.02, 0.01, price_class="no-zone"), out)])
    assert per_gib(ask(own, sent)) == (0.02, 0.0)
    assert per_gib(ask(own, received)) == (0.0, 0.01)


def test_a_network_without_a_zone_in_another_region_is_priced_by_that() -> None:
    book = PriceBook([prices(Rule("cross_region", 0.02, 0.0))])
    bucket = between("cross_region", dst_provider="", dst_region="r2", dst_price_class="no-zone")
    assert per_gib(ask(book, bucket)) == (0.02, 0.0)
