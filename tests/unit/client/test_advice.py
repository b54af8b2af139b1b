"""The filters of a proposal's flows: each flow is in one of them, however many there are."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.client.advice import MOST_QUESTIONS, MeasuredPair, Proposed, compared, filters, servers
from kzn.history.query import MAX_VALUES, TrafficQuery

CART = ("Pod", "shop", "Deployment", "cart")


def pair(client: tuple[str, str, str, str], port: int = 80) -> MeasuredPair:
    return MeasuredPair(client, CART, port, "tcp")


def test_clients_of_a_kind_are_one_question_in_each_direction() -> None:
    pairs = (
        pair(("Pod", "a", "Deployment", "web")),
        pair(("Pod", "b", "Deployment", "web")),
        pair(("Pod", "a", "Job", "web")),
        pair(("Node", "", "Node", "n1")),
        pair(("Node", "", "Node", "n2")),
        pair(("Pod", "a", "Deployment", "web"), 443),
    )
    found = [dict(where) for where in filters(pairs)]
    assert len(found) == 2 * 5
    assert found[0] == {
        "src_kind": ("Pod",),
        "src_workload_kind": ("Deployment",),
        "src_workload": ("a/web", "b/web"),
        "dst_kind": ("Pod",),
        "dst_workload_kind": ("Deployment",),
        "dst_workload": ("shop/cart",),
        "port": ("80",),
        "protocol": ("tcp",),
        "initiator": ("source", "unknown"),
    }
    assert found[1]["dst_workload"] == found[0]["src_workload"]
    assert found[1]["initiator"] == ("destination",)
    nodes = [one["src_workload"] for one in found[::2] if one["src_kind"] == ("Node",)]
    assert nodes == [("n1",), ("n2",)]
    assert all(one["src_namespace"] == ("",) for one in found[::2] if one["src_kind"] == ("Node",))


def test_more_clients_than_a_filter_may_have_values_are_several_questions() -> None:
    pairs = tuple(
        pair(("Pod", "shop", "Deployment", f"w{number}")) for number in range(MAX_VALUES * 2 + 1)
    )
    found = list(filters(pairs))
    for where in found:
        TrafficQuery(0, 60, (), where)  # raises what the server would refuse
    names = itertools.chain(*(dict(where)["src_workload"] for where in found[::2]))
    assert sorted(names) == sorted(f"shop/w{number}" for number in range(MAX_VALUES * 2 + 1))


def test_servers_of_a_kind_and_ports_are_one_question_in_each_direction() -> None:
    prom = ("Pod", "m", "Deployment", "prom")
    targets = [("Pod", f"n{number % 20}", "Deployment", f"t{number}") for number in range(90)]
    pairs = tuple(
        MeasuredPair(prom, target, port, "tcp") for target in targets for port in (9100, 9101)
    )
    found = [dict(where) for where in filters(pairs)]
    assert len(found) == 2
    assert len(found[0]["dst_workload"]) == 90
    assert found[0]["port"] == ("9100", "9101")
    assert compared(pairs) == 180


def test_pairs_that_need_too_many_questions_are_left_out_the_last_first() -> None:
    pairs = tuple(
        MeasuredPair(CART, ("Pod", f"n{number}", "Deployment", "t"), 9000 + number, "tcp")
        for number in range(200)
    )
    found = [dict(where) for where in filters(pairs)]
    assert len(found) == MOST_QUESTIONS
    assert compared(pairs) == MOST_QUESTIONS // 2
    assert found[0]["dst_workload"] == ("n0/t",)


PARTIES = st.tuples(
    st.sampled_from(["Pod", "Node"]),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["Deployment", "Job"]),
    st.sampled_from(["x", "y"]),
)


@given(
    st.lists(
        st.builds(
            MeasuredPair, PARTIES, PARTIES, st.integers(80, 82), st.sampled_from(["tcp", "udp"])
        ),
        max_size=14,
    )
)
def test_each_pair_is_in_one_question_and_no_other_is(pairs: list[MeasuredPair]) -> None:
    found: Counter[MeasuredPair] = Counter()
    for where in list(filters(tuple(pairs)))[::2]:
        of = dict(where)
        ends = []
        for side in ("src", "dst"):
            (kind,), (workload_kind,) = of[f"{side}_kind"], of[f"{side}_workload_kind"]
            names = [
                (kind, *name.split("/")) if "/" in name else (kind, "", name)
                for name in of[f"{side}_workload"]
            ]
            ends.append([(kind, space, workload_kind, name) for kind, space, name in names])
        for client, server in itertools.product(*ends):
            for port in of["port"]:
                found[MeasuredPair(client, server, int(port), of["protocol"][0])] += 1
    assert found == Counter(set(pairs))


def test_servers_are_those_with_a_namespace_unless_there_are_too_many() -> None:
    def of(*parties: tuple[str, str, str, str]) -> Proposed:
        pairs = tuple(MeasuredPair(CART, one, 80, "tcp") for one in parties)
        return Proposed("x", "x", 0, 1, True, 0, 0, 0.0, pairs, len(pairs))

    node = ("Node", "", "Node", "n1")
    many = [("Pod", "x", "Job", f"j{number}") for number in range(MAX_VALUES + 1)]
    assert servers(of(CART, node, CART)) == (
        ("dst_workload_kind", ("Deployment",)),
        ("dst_workload", ("shop/cart",)),
    )
    assert servers(of(node)) == servers(of(*many)) == ()


def test_an_answer_of_another_shape_is_an_error_and_one_without_a_proposal_is_none() -> None:
    assert Proposed.from_json({"proposals": []}) is None
    with pytest.raises((KeyError, TypeError, ValueError)):
        Proposed.from_json({"proposals": [{"id": "x"}], "window": {"to": 1}})


def test_shares_of_nothing_are_nothing() -> None:
    nothing = Proposed("x", "x", 0, 1, True, 0, 0, 0.0, (), 0)
    assert (nothing.share_before, nothing.share_predicted) == (0.0, 0.0)
