"""kzn/pricing/file.py and text.py: lists as YAML, mistakes with their line, and back."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.errors import EXIT_USAGE, UsageError
from kzn.model.provider import spelled
from kzn.pricing import aws, azure, gcp
from kzn.pricing.declaration import Conversion, PriceList, Rule
from kzn.pricing.file import load_list, parse_list
from kzn.pricing.text import yaml_of
from kzn.pricing.traffic import CLASSES

HEAD = """\
provider: aws
currency: USD
valid_from: 2026-01-01
source: contract 4711
date: 2025-12-20
"""
WHOLE = (
    HEAD
    + """\
name: ours
unit: GB
valid_until: 2027-01-01
discount: 12.5%
convert: {currency: EUR, rate: 0.92, source: bank, date: 2026-01-02}
rules:
  - {class: same_zone, free: true}
  - class: cross_zone
    from: [us-*, "ca-*"]
    to: us-*
    far_end: managed-database
    bills: near
    sender: 0.01
    receiver: 0.0125
    source: a page
    date: 2026-02-03
  - {class: external, to: outside, unpriced: by tier}
"""
)


def test_a_file_is_the_list_that_it_says() -> None:
    assert parse_list("prices.yaml", WHOLE) == PriceList(
        name="ours",
        provider="aws",
        currency="USD",
        valid_from=date(2026, 1, 1),
        valid_until=date(2027, 1, 1),
        source="contract 4711",
        date=date(2025, 12, 20),
        gb_bytes=10**9,
        discount=0.125,
        conversion=Conversion("EUR", 0.92, "bank", date(2026, 1, 2)),
        rules=(
            Rule("same_zone"),
            Rule(
                "cross_zone",
                0.01,
                0.0125,
                ("us-*", "ca-*"),
                ("us-*",),
                price_class="managed-database",
                bills_far_end=False,
                source="a page",
                date=date(2026, 2, 3),
            ),
            Rule("external", dst_regions=("outside",), unpriced="by tier"),
        ),
    )


def test_the_name_is_the_files_and_the_gb_is_2_to_the_30(tmp_path: Path) -> None:
    path = tmp_path / "contract.yaml"
    path.write_text(HEAD + "rules: []\n")
    found = load_list(path)
    assert (found.name, found.gb_bytes, found.discount) == ("contract", 1 << 30, 0)
    assert (found.conversion, found.valid_until) == (None, None)


def test_a_list_can_extend_an_installed_one() -> None:
    text = "extends: aws\ndiscount: 10%\nrules: [{class: cross_zone, sender: 0.005, receiver: 0}]\n"
    found = parse_list("ours.yaml", text, [aws.PRICES])
    assert found.rules[0] == Rule("cross_zone", 0.005, 0)
    assert [rule.cls for rule in found.rules[1:]] == [rule.cls for rule in aws.PRICES.rules]
    assert all(rule.source and rule.date for rule in found.rules[1:])
    assert (found.provider, found.discount, found.valid_from) == ("aws", 0.1, date(2022, 4, 1))
    later = parse_list("ours.yaml", "extends: aws\nvalid_from: 2026-02-01\n", [aws.PRICES])
    assert (later.valid_from, len(later.rules)) == (date(2026, 2, 1), len(aws.PRICES.rules))


MISTAKES = [
    ("", 1, "nothing"),
    ("- a", 1, "a list"),
    (HEAD, 1, '"rules"'),
    (HEAD.replace("source: contract 4711\n", "") + "rules: []", 1, '"source"'),
    (HEAD + "rules: {}", 6, "a mapping"),
    (HEAD + "rules: []\nprice: 1", 7, '"price"'),
    (HEAD.replace("aws", "AWS") + "rules: []", 1, 'the name "aws"'),
    (HEAD.replace("aws", "gce") + "rules: []", 1, 'the name "gcp"'),
    (HEAD.replace("aws", "OCI") + "rules: []", 1, 'the name "oracle"'),
    (HEAD.replace("aws", '" "') + "rules: []", 1, "a name such as aws"),
    (HEAD + "currency: EUR\nrules: []", 6, "twice"),
    (HEAD + "rules:\n- &x {class: cross_zone, free: true}\n- {<<: *x}", 8, '"<<"'),
    (HEAD + "rules:\n- !!python/object/apply:os.system [ls]", 7, "a list"),
    (HEAD + "rules: []\n---\nrules: []", 7, "p.yaml:7: found another document"),
    (HEAD + "rules:\n-", 7, "nothing"),
    (HEAD + "rules:\n- {class: , free: true}", 7, "nothing"),
    (HEAD + "rules:\n\t- {class: cross_zone, free: true}", 7, "YAML"),
    (HEAD + "rules:\n- {class: cross_zone, free: true, from: [[a]]}", 7, "a list"),
    (HEAD + "rules:\n- {class: cross_zone, sender: '0,01', receiver: 0}", 7, '"0,01"'),
    (HEAD + "rules:\n- {class: cross_zone, sender: $0.01, receiver: 0}", 7, '"$0.01"'),
    (HEAD + "rules:\n- {class: cross_zone, unpriced: }", 7, "nothing"),
    (HEAD + "rules:\n- {class: cross_zone, fre: true}", 7, '"fre"'),
    (HEAD + "name: 'abc\nrules: []", 7, "YAML"),
    (HEAD.replace("contract 4711", "a: b") + "rules: []", 4, "YAML"),
    (HEAD.replace("USD", "dollar") + "rules: []", 2, '"dollar"'),
    (HEAD.replace("2026-01-01", "01.02.2026") + "rules: []", 3, "01.02.2026"),
    (HEAD.replace("2026-01-01", "2026-02-30") + "rules: []", 3, "2026-02-30"),
    (HEAD.replace("2026-01-01", "20260101") + "rules: []", 3, "20260101"),
    (HEAD + "unit: TB\nrules: []", 6, '"TB"'),
    (HEAD + "discount: 0.1\nrules: []", 6, '"0.1"'),
    (HEAD + "discount: 101%\nrules: []", 6, '"101%"'),
    (HEAD + "convert: {currency: EUR}\nrules: []", 6, '"rate"'),
    (HEAD + "convert: {currency: EUR, rate: 0}\nrules: []", 6, "0, expected more"),
    (HEAD + "extends: ours\nrules: []", 6, '"ours"'),
    (HEAD + "extends: gcp\nrules: []", 1, '"aws"'),
    (HEAD.replace("USD", "EUR") + "extends: aws\nrules: []", 2, '"EUR"'),
    (HEAD + "unit: GB\nextends: aws\nrules: []", 6, '"GB"'),
    (HEAD + "rules:\n- class: cross_zone", 7, "no price"),
    (HEAD + "rules:\n- {class: cross_planet, free: true}", 7, '"cross_planet"'),
    (HEAD + "rules:\n- {class: cross_zone, sender: 1}", 7, "with sender"),
    (HEAD + "rules:\n- {class: cross_zone, sender: -1, receiver: 1}", 7, '"-1"'),
    (HEAD + "rules:\n- {class: cross_zone, sender: nan, receiver: 1}", 7, '"nan"'),
    (HEAD + "rules:\n- {class: cross_zone, sender: 1e12, receiver: 1}", 7, '"1e12"'),
    (HEAD + "rules:\n- {class: cross_zone, free: true, unpriced: x}", 7, "free, unpriced"),
    (HEAD + "rules:\n- {class: cross_zone, free: no}", 7, '"no"'),
    (HEAD + "rules:\n- {class: cross_zone, free: true, bills: near}", 7, "far_end"),
    (HEAD + "rules:\n- {class: cross_zone, free: true, far_end: x, bills: far}", 7, '"far"'),
    (HEAD + "rules:\n- {class: cross_zone, free: true, far_end: free}", 7, '"free"'),
    (HEAD + "rules:\n- {class: cross_zone, free: true, from: []}", 7, "empty list"),
    (HEAD + "rules:\n- {class: cross_zone, free: true, from: 'us-*,ca-*'}", 7, "[us-*, ca-*]"),
    (HEAD + "rules:\n- {class: cross_zone, free: true, to: '{us,ca}-*'}", 7, '"{us,ca}-*"'),
    (HEAD + "rules:\n- {class: cross_zone, free: true, to: [us-*, ' ca-*']}", 7, '" ca-*"'),
    (HEAD + "rules:\n- {class: cross_zone, free: true, from: 'us-[ab'}", 7, '"us-[ab"'),
    (HEAD + "rules:\n- {class: cross_zone, free: true, from: outside}", 7, "class external"),
    (HEAD + "rules:\n- {class: external, free: true, from: outside, to: outside}", 7, "an end in"),
    (HEAD + "rules:\n- {class: cross_zone, free: true, far_end: no-zone}", 7, "class external"),
    (HEAD + "rules:\n- {class: external, free: true, far_end: internet}", 7, "no far_end"),
    (HEAD + "rules:\n- {class: cross_zone, free: true, far_end: ' peering'}", 7, '" peering"'),
    (HEAD + "convert: {currency: USD, rate: 0.9}\nrules: []", 6, "from USD to USD"),
    ("extends: aws\nconvert: {currency: USD, rate: 0.9}\n", 2, "from USD to USD"),
    (HEAD + "rules: [", 6, "YAML"),
    (HEAD + "valid_until: 2020-01-01\nrules: []", 6, "until 2020-01-01"),
]


@pytest.mark.parametrize(("text", "line", "found"), MISTAKES)
def test_a_mistake_has_its_line(text: str, line: int, found: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_list("p.yaml", text, [aws.PRICES, gcp.PRICES])
    assert found in raised.value.message
    assert raised.value.message.startswith(f"p.yaml:{line}:" if line else "price list p:")
    assert raised.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize("content", [b"\xff", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "p.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"p\.yaml"):
        load_list(path)


def test_a_list_that_extends_one_with_a_discount_has_it_too() -> None:
    conversion = Conversion("EUR", 0.9, "bank", date(2026, 1, 2))
    base = replace(aws.PRICES, discount=0.2, valid_until=date(2030, 1, 1), conversion=conversion)
    found = parse_list("ours.yaml", "extends: aws\nname: ours\n", [base])
    assert (found.discount, found.valid_until, found.conversion) == (
        0.2,
        date(2030, 1, 1),
        conversion,
    )
    own = parse_list("ours.yaml", "extends: aws\ndiscount: 10%\nvalid_until: 2029-01-01\n", [base])
    assert (own.discount, own.valid_until) == (0.1, date(2029, 1, 1))


@given(st.text(max_size=200))
def test_any_text_that_is_not_a_list_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"\Af:"):
        parse_list("f", text)


@pytest.mark.parametrize("one", [aws.PRICES, azure.PRICES, gcp.PRICES], ids=lambda one: one.name)
def test_the_shipped_lists_are_the_same_as_text(one: PriceList) -> None:
    assert parse_list("f", yaml_of(one, ("a comment",))) == one


PRICE = st.floats(0, 1000).map(lambda n: float(f"{n:.9f}")) | st.floats(1e-20, 1e9)
WORD = st.text("abz019*-_ :#'\"\\{}[],\n\tä🙂", min_size=1, max_size=12)
NAME = st.text("abz019*-_ :#'\"\\\nä🙂", min_size=1, max_size=12).map(str.strip).filter(bool)
GLOBS = st.lists(NAME | st.just("us-[ab]*"), min_size=1, max_size=3).map(tuple)
DAYS = st.dates(date(2000, 1, 1), date(2099, 1, 1))


@st.composite
def any_rule(draw: st.DrawFn) -> Rule:
    far_end = draw(st.just("") | NAME)
    unpriced = draw(st.just("") | WORD)
    return Rule(
        cls=draw(st.sampled_from(CLASSES)),
        sender=0.0 if unpriced else draw(PRICE),
        receiver=0.0 if unpriced else draw(PRICE),
        src_regions=draw(GLOBS),
        dst_regions=draw(GLOBS),
        price_class=far_end,
        bills_far_end=not far_end or draw(st.booleans()),
        unpriced=unpriced,
        source=draw(st.just("") | WORD),
        date=draw(st.none() | DAYS),
    )


@given(
    st.lists(any_rule(), max_size=4).map(tuple),
    WORD,
    st.integers(0, 10_000).map(lambda n: n / 10_000),
    st.none()
    | st.just(Conversion("EUR", 0.92))
    | st.just(Conversion("SEK", 10.5, "x: y", date(2026, 1, 1))),
)
def test_any_list_is_the_same_as_text(
    rules: tuple[Rule, ...], word: str, discount: float, conversion: Conversion | None
) -> None:
    one = replace(
        aws.PRICES,
        name=word,
        provider=spelled(word) or "own",
        source=word,
        rules=rules,
        discount=discount,
        conversion=conversion,
        gb_bytes=10**9,
        valid_until=date(2099, 1, 1),
    )
    assert parse_list("f", yaml_of(one)) == one


def test_a_file_has_a_mebibyte_and_a_large_one_is_read_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    rule = "  - {class: cross_region, from: us-*, to: [eu-*, ap-*], sender: 0.01, receiver: 0}\n"
    text = HEAD + "rules:\n" + rule * 2000
    path.write_text(text + "  - {class: nothing, free: true}\n")
    with pytest.raises(UsageError, match=r"prices\.yaml:2007: "):
        load_list(path)
    path.write_text(text + "#" * ((1 << 20) - len(text)))
    assert len(load_list(path).rules) == 2000
    path.write_text(text + "#" * ((1 << 20) + 1 - len(text)))
    with pytest.raises(UsageError, match="1048577 bytes, expected at most 1048576 of a price list"):
        load_list(path)
