"""Which probe is selected: the first that sees what leaves the node; in doubt the order decides."""

import pytest

from kzn.agent.select.decide import TestPackets, TrialResult, decide


def seen(name: str, share: float) -> TrialResult:
    return TrialResult(name, share=share)


@pytest.mark.parametrize("share", [1.0, 0.9, 1.034, 2.0])
def test_the_first_that_sees_what_leaves_is_selected(share: float) -> None:
    choice = decide([seen("postrouting", share), seen("tcx", 1.0)])
    assert (choice.name, choice.passed_over) == ("postrouting", ())


@pytest.mark.parametrize("share", [0.0, 0.5, 0.89])
def test_a_later_one_that_sees_all_is_selected_before_one_that_misses_traffic(share: float) -> None:
    choice = decide([seen("postrouting", share), seen("tcx", 1.0)])
    assert choice.name == "tcx"
    assert choice.sentence().startswith("tcx: it saw 100% of the bytes")
    assert choice.sentence().endswith(f"; not postrouting: it saw {share:.0%} of them")


def test_when_all_miss_as_much_the_order_decides() -> None:
    """A driver that counts more than the packet makes every hook look short."""
    assert decide([seen("postrouting", 0.85), seen("tcx", 0.87)]).name == "postrouting"


def test_of_those_that_miss_traffic_the_one_that_sees_most_is_selected() -> None:
    choice = decide([seen("postrouting", 0.2), seen("tcx", 0.7), seen("mine", 0.71)])
    assert choice.name == "tcx"


def test_on_a_quiet_node_the_test_packets_decide() -> None:
    choice = decide(
        [TrialResult("postrouting", test_packets="unseen"), TrialResult("tcx", test_packets="seen")]
    )
    assert choice.name == "tcx"
    assert choice.passed_over == (("postrouting", "it did not see the test packets"),)
    assert decide(
        [TrialResult("postrouting", test_packets="seen"), TrialResult("tcx", test_packets="seen")]
    ).name == ("postrouting")


def test_where_no_test_packet_can_be_sent_the_order_decides() -> None:
    choice = decide([TrialResult("postrouting"), TrialResult("tcx")])
    assert choice.name == "postrouting"
    assert "too little to compare" in choice.reason


def test_the_only_one_that_can_run_needs_no_trial() -> None:
    choice = decide([TrialResult("postrouting", rejected="too old"), TrialResult("clsact")])
    assert "the only one that can run" in choice.reason
    assert choice.passed_over == (("postrouting", "too old"),)


def test_when_none_sees_the_test_packets_the_first_is_selected() -> None:
    choice = decide(
        [
            TrialResult("postrouting", test_packets="unseen"),
            TrialResult("tcx", test_packets="unseen"),
        ]
    )
    assert choice.name == "postrouting"
    assert choice.reason.startswith("no probe saw the test packets")


def test_one_whose_share_cannot_be_measured_is_judged_by_the_test_packets() -> None:
    """With more uplinks than the control map holds, what stays on the node is not recognized."""
    assert (
        decide([TrialResult("postrouting", test_packets="unknown"), seen("tcx", 1.0)]).name
        == "postrouting"
    )


def test_only_those_before_the_selected_one_are_reported_as_passed_over() -> None:
    choice = decide(
        [TrialResult("a", rejected="no BTF"), seen("b", 1.0), TrialResult("c", rejected="no tcx")]
    )
    assert choice.passed_over == (("a", "no BTF"),)


BYPASS = "pods' packets bypass netfilter: eBPF host routing of Cilium"


@pytest.mark.parametrize("test_packets", ["seen", "unseen", "unknown"])
def test_a_probe_that_facts_speak_against_is_not_selected_by_the_nodes_own_packets(
    test_packets: TestPackets,
) -> None:
    """The datagram of the self-test is the node's own: it passes netfilter, unlike the pods'."""
    doubted = TrialResult("postrouting", test_packets=test_packets, doubt=BYPASS)
    choice = decide([doubted, TrialResult("tcx", test_packets="seen")])
    assert choice.name == "tcx"
    assert choice.passed_over == (("postrouting", BYPASS),)
    assert not choice.saw_traffic


def test_facts_come_before_the_traffic_of_a_node_without_pods() -> None:
    choice = decide([TrialResult("postrouting", share=1.0, doubt=BYPASS), seen("tcx", 1.0)])
    assert (choice.name, choice.saw_traffic) == ("tcx", True)
    assert choice.sentence().endswith(f"; not postrouting: {BYPASS}")


def test_a_probe_in_doubt_is_better_than_one_that_sees_nothing() -> None:
    doubted = TrialResult("postrouting", test_packets="seen", doubt=BYPASS)
    choice = decide([doubted, TrialResult("tcx", test_packets="unseen")])
    assert choice.name == "postrouting"
    assert choice.passed_over == (("tcx", "it did not see the test packets"),)
    choice = decide([doubted, TrialResult("tcx", rejected="too old")])
    assert choice.reason == f"it is the only one that can run here, but {BYPASS}"


def test_a_measured_miss_is_reported_before_what_may_be() -> None:
    choice = decide([TrialResult("postrouting", share=0.02, doubt=BYPASS), seen("tcx", 1.0)])
    assert choice.passed_over == (("postrouting", "it saw 2% of them"),)
