"""Which probe wins: the first that sees what leaves; in doubt the order decides."""

import pytest

from kzn.agent.select.decide import TrialResult, decide


def seen(name: str, share: float) -> TrialResult:
    return TrialResult(name, share=share)


@pytest.mark.parametrize("share", [1.0, 0.9, 1.034, 2.0])
def test_the_first_that_sees_what_leaves_wins(share: float) -> None:
    choice = decide([seen("postrouting", share), seen("tcx", 1.0)])
    assert (choice.name, choice.refused) == ("postrouting", ())


@pytest.mark.parametrize("share", [0.0, 0.5, 0.89])
def test_one_that_misses_traffic_gives_way_to_one_that_sees_it(share: float) -> None:
    choice = decide([seen("postrouting", share), seen("tcx", 1.0)])
    assert choice.name == "tcx"
    assert choice.sentence() == (
        "tcx: it saw 100% of the bytes that left by the uplinks;"
        f" not postrouting: it saw {share:.0%} of them"
    )


def test_when_all_miss_as_much_the_order_decides() -> None:
    """A driver that counts more than the packet makes every hook look short."""
    assert decide([seen("postrouting", 0.85), seen("tcx", 0.87)]).name == "postrouting"


def test_of_those_that_miss_traffic_the_one_that_sees_most_wins() -> None:
    choice = decide([seen("postrouting", 0.2), seen("tcx", 0.7), seen("mine", 0.71)])
    assert choice.name == "tcx"


def test_on_a_quiet_node_a_packet_of_ours_decides() -> None:
    choice = decide([TrialResult("postrouting", mark="unseen"), TrialResult("tcx", mark="seen")])
    assert choice.name == "tcx"
    assert choice.refused == (("postrouting", "it did not see a packet of ours"),)
    assert decide(
        [TrialResult("postrouting", mark="seen"), TrialResult("tcx", mark="seen")]
    ).name == ("postrouting")


def test_where_no_packet_can_be_sent_the_order_decides() -> None:
    choice = decide([TrialResult("postrouting"), TrialResult("tcx")])
    assert choice.name == "postrouting"
    assert choice.why == "nothing left this node by which to tell"


def test_the_only_one_that_can_run_needs_no_trial() -> None:
    choice = decide([TrialResult("postrouting", refused="too old"), TrialResult("clsact")])
    assert choice.sentence() == (
        "clsact: it is the only one that can run here; not postrouting: too old"
    )


def test_when_none_sees_a_packet_of_ours_the_first_is_taken_all_the_same() -> None:
    choice = decide([TrialResult("postrouting", mark="unseen"), TrialResult("tcx", mark="unseen")])
    assert choice.name == "postrouting"
    assert choice.why.startswith("no probe saw a packet of ours")


def test_one_that_cannot_tell_what_left_is_judged_by_the_packet() -> None:
    """More uplinks than the kernel's list holds: what stays is not told apart."""
    assert (
        decide([TrialResult("postrouting", mark="unknown"), seen("tcx", 1.0)]).name == "postrouting"
    )


def test_what_was_refused_before_the_chosen_one_is_told_and_nothing_else() -> None:
    choice = decide(
        [TrialResult("a", refused="no BTF"), seen("b", 1.0), TrialResult("c", refused="no tcx")]
    )
    assert choice.refused == (("a", "no BTF"),)
