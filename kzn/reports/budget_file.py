"""Budgets as a YAML file::

    budgets:
      - name: shop                # of its metrics and its row on the page
        amount: 500               # for each calendar month, in UTC
        currency: USD
        namespace: shop           # what it is for: a namespace, a workload (NAMESPACE/NAME),
      - {name: payments, amount: 200, currency: USD, group: payments}   # a team,
      - {name: all, amount: 3000, currency: USD}                        # or all traffic

What a budget is for is charged for the connections that it opened, at both ends.

In: the file. Out: `Budget` values, or UsageError "FILE:LINE: what was found, expected what".
"""

import re
from collections.abc import Sequence
from pathlib import Path

from kzn.errors import UsageError
from kzn.reports.amounts import Where
from kzn.reports.budget import Budget
from kzn.yaml_files import MAX_LIST_BYTES, Value, parse, read_text

MAX_BUDGETS = 200
_HINT = "`python3 -m pydoc kzn.reports.budget_file` shows the format"
_SCOPES = ("namespace", "workload", "group")
_CURRENCY = re.compile(r"[A-Z]{3}")


def load_budgets(path: Path) -> tuple[Budget, ...]:
    """The budgets in a file; UsageError."""
    root = parse(str(path), read_text(path, "file of budgets", MAX_LIST_BYTES), _HINT)
    if root is None:
        raise UsageError(f"{path}:1: nothing, expected budgets", hint=_HINT)
    listed = root.mapping("the file", {"budgets"}, set())["budgets"]
    found: dict[str, Budget] = {}
    for item in listed.items("budgets"):
        one = _budget(item)
        if one.name in found:
            item.fail(f'budget "{one.name}" twice', "each name once")
        found[one.name] = one
    if not 1 <= len(found) <= MAX_BUDGETS:
        listed.fail(f"{len(found)} budgets", f"1 to {MAX_BUDGETS}")
    return tuple(found.values())


def _budget(item: Value) -> Budget:
    entry = item.mapping("a budget", {"name", "amount", "currency"}, set(_SCOPES))
    amount = entry["amount"].number("an amount, such as 500")
    if not amount:
        entry["amount"].fail("0", "more")
    currency = entry["currency"].text("a currency")
    if not _CURRENCY.fullmatch(currency):
        entry["currency"].fail(f'"{currency}"', "a currency as three capital letters, such as USD")
    scopes = [name for name in _SCOPES if name in entry]
    if len(scopes) > 1:
        item.fail(" and ".join(scopes), "one of them")
    return Budget(entry["name"].text("a name"), amount, currency, _where(entry, scopes))


def _where(entry: dict[str, Value], scopes: Sequence[str]) -> Where:
    if not scopes:
        return ()
    (scope,) = scopes
    value = entry[scope].text(f"a {scope}")
    if scope == "workload" and (value.count("/") != 1 or not all(value.split("/"))):
        entry[scope].fail(f'"{value}"', "a workload as NAMESPACE/NAME")
    return ((f"cause_{scope}", (value,)),)
