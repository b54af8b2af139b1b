"""A file of budgets, and the mistakes that it may have."""

from pathlib import Path

import pytest

from kzn.errors import UsageError
from kzn.reports.budget import Budget
from kzn.reports.budget_file import load_budgets

GOOD = """\
budgets:
  - name: shop
    amount: 500
    currency: USD
    namespace: shop
  - {name: cart, amount: 12.5, currency: EUR, workload: shop/cart}
  - {name: team, amount: 1, currency: USD, group: payments}
  - {name: all, amount: 3000, currency: USD}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "budgets.yaml"
    path.write_text(text)
    return path


def test_a_budget_is_for_what_was_caused_by_its_scope(tmp_path: Path) -> None:
    assert load_budgets(written(tmp_path, GOOD)) == (
        Budget("shop", 500.0, "USD", (("cause_namespace", ("shop",)),)),
        Budget("cart", 12.5, "EUR", (("cause_workload", ("shop/cart",)),)),
        Budget("team", 1.0, "USD", (("cause_group", ("payments",)),)),
        Budget("all", 3000.0, "USD"),
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("amount: 500", "amount: 0", "budgets.yaml:3: 0, expected more"),
        ("amount: 500", "amount: -5", 'budgets.yaml:3: "-5", expected an amount'),
        ("amount: 500", "amount: .inf", "expected an amount"),
        ("amount: 500", "amount: 1e400", "expected an amount"),
        ("amount: 500", "amount: 1e12", "expected an amount"),
        ("amount: 500", "amount: 1e-400", "0, expected more"),
        ("amount: 500", "amount: e5", "expected an amount"),
        ("currency: USD\n", "currency: dollars\n", "three capital letters"),
        ("namespace: shop", "namespace: shop\n    group: x", "one of them"),
        ("workload: shop/cart", "workload: cart", "NAMESPACE/NAME"),
        ("workload: shop/cart", "workload: shop/", "NAMESPACE/NAME"),
        ("workload: shop/cart", "workload: /cart", "NAMESPACE/NAME"),
        ("name: team", "name: shop", 'budget "shop" twice'),
        ("namespace: shop", "zone: a", 'unknown key "zone"'),
        ("    amount: 500\n", "", 'without "amount"'),
        (GOOD, "", "nothing, expected budgets"),
        (GOOD, "budgets: []", "1 to 200"),
        (GOOD, "budgets: {", "expected YAML"),
    ],
)
def test_a_mistake_has_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_budgets(written(tmp_path, GOOD.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1.50000025e+06", 1500000.25), ("1e-05", 0.00001), ("1.23456789e+08", 123456789.0)],
)
def test_an_amount_may_be_as_helm_writes_it(tmp_path: Path, text: str, amount: float) -> None:
    path = written(tmp_path, GOOD.replace("amount: 500", f"amount: {text}"))
    assert load_budgets(path)[0].amount == amount


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a readable file of budgets"):
        load_budgets(tmp_path / "none.yaml")
