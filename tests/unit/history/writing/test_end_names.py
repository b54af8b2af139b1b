"""Names of ends by number: their columns, and what ends have in common."""

from typing import Any

import numpy as np

from kzn.history.columns import END_FIELDS
from kzn.history.writing.end_names import EndNames
from kzn.history.writing.parquet import Texts
from kzn.model.settled import End

WEB1 = End("Pod", "shop", "Deployment", "web", "web-1", "n1", "a", "r", "10.0.0.1", "team")
WEB2 = WEB1._replace(pod="web-2", address="10.0.0.2")
FAR = WEB1._replace(pod="web-3", node="n2", zone="b")
OUTSIDE = End("External", "", "", "", "", "", "", "", "8.8.8.8")


def texts(column: Any) -> list[str]:
    assert isinstance(column, Texts)
    return [column.values.texts[code].decode() for code in column.codes.tolist()]


def named(*ends: End) -> EndNames:
    names = EndNames()
    names.add(ends, {"n1": "aws:///i-1"})
    return names


def test_columns_are_the_fields_of_the_ends_of_each_row() -> None:
    names = named(WEB1, FAR, OUTSIDE)
    found = names.columns("src", np.array([2, 0, 0, 1]))
    assert list(found) == [f"src_{name}" for name in END_FIELDS]
    for place, name in enumerate(End._fields):
        expected = [end[place] for end in (OUTSIDE, WEB1, WEB1, FAR)]
        assert texts(found[f"src_{name}"]) == expected
    assert texts(found["src_provider_id"]) == ["", "aws:///i-1", "aws:///i-1", ""]


def test_many_ends_are_added_in_any_portions() -> None:
    names = EndNames()
    ends = [WEB1._replace(pod=f"p{n}", node=f"n{n}") for n in range(5000)]
    for at in range(0, 5000, 900):
        names.add(ends[at : at + 900], {f"n{n}": f"id{n}" for n in range(at, at + 900)})
    found = names.columns("dst", np.arange(5000), ("pod", "provider_id"))
    assert texts(found["dst_pod"]) == [f"p{n}" for n in range(5000)]
    assert texts(found["dst_provider_id"]) == [f"id{n}" for n in range(5000)]


def test_ends_of_one_workload_node_or_place_have_one_that_stands_for_them() -> None:
    names = named(OUTSIDE, WEB1, WEB2, FAR)
    numbers = np.arange(4)
    assert names.common("workload", numbers).tolist() == [0, 1, 1, 3]
    assert names.common("node", numbers).tolist() == [0, 1, 1, 3]
    assert names.common("place", numbers).tolist() == [0, 1, 1, 3]
    names.add([FAR._replace(zone="a", node="n9"), WEB1._replace(group="other")], {})
    assert names.common("workload", np.array([4, 5])).tolist() == [1, 5]
    assert names.common("node", np.array([4, 5])).tolist() == [4, 1]
    assert names.common("place", np.array([4, 5])).tolist() == [1, 1]


def test_an_id_of_a_node_with_ends_that_changes_is_told() -> None:
    names = named(WEB1)
    assert not names.identify({"n1": "aws:///i-1", "n7": "x"})
    assert names.identify({"n1": "aws:///i-2"})
    assert texts(names.columns("src", np.array([0]))["src_provider_id"]) == ["aws:///i-2"]
