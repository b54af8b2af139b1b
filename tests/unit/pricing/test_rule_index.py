"""kzn/pricing/rule_index.py: the rule that a scan in order would find, without the scan."""

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from kzn.pricing.book import PriceBook
from kzn.pricing.declaration import ANY, Rule
from kzn.pricing.gcp import PRICES
from kzn.pricing.rule_index import RuleIndex
from kzn.pricing.traffic import Traffic

REGIONS = st.sampled_from(["", "outside", "us-east-1", "us-east-2", "eu-west-1", "us.east-1", "[u"])
GLOBS = st.lists(
    st.sampled_from(["*", "us-*", "us-east-?", "us-east-[!1]", "us.east-1", "eu-west-1", "[u", ""]),
    min_size=1,
    max_size=3,
).map(tuple)
CLASSES = st.sampled_from(["same_zone", "cross_zone"])
PRICE_CLASSES = st.sampled_from(["", "peering"])
RULES = st.lists(
    st.builds(
        Rule,
        CLASSES,
        src_regions=st.one_of(st.just(ANY), GLOBS),
        dst_regions=GLOBS,
        price_class=PRICE_CLASSES,
    ),
    max_size=12,
)


def scanned(rules: list[Rule], cls: str, src: str, dst: str, price_class: str) -> Rule | None:
    for rule in rules:
        ends = (src, rule.src_regions), (dst, rule.dst_regions)
        if (rule.cls, rule.price_class) == (cls, price_class) and all(
            any(fnmatchcase(region, glob) for glob in globs) for region, globs in ends
        ):
            return rule
    return None


@given(RULES, st.lists(st.tuples(CLASSES, REGIONS, REGIONS, PRICE_CLASSES), min_size=1, max_size=9))
def test_the_first_rule_that_applies_is_that_of_a_scan(
    rules: list[Rule], questions: list[tuple[str, str, str, str]]
) -> None:
    index = RuleIndex(rules)
    for question in questions:
        assert index.first(*question) is scanned(rules, *question)


def test_an_answer_is_remembered_and_is_of_the_list_that_counts() -> None:
    book = PriceBook([PRICES])
    traffic = Traffic("cross_zone", "gcp", "us-central1", "gcp", "us-central1")
    assert book.quote(traffic, PRICES.valid_from) is book.quote(traffic, PRICES.valid_from)
