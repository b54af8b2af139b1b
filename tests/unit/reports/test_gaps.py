"""Gaps as sentences: a few with their times, the rest as a number."""

from kzn.client.past_traffic import Missing, PastTraffic, Sums
from kzn.reports.gaps import MOST, gap_notes


def test_the_first_gaps_have_a_sentence_each_and_the_rest_one() -> None:
    gaps = [Missing(60 * number, 60 * number + 30, "re\x1bstart") for number in range(500)]
    found = list(gap_notes(gaps, "2026-11"))
    assert len(found) == MOST + 1
    assert found[1] == (
        "Of 2026-11 bytes are missing from 1970-01-01T00:01:00Z to 1970-01-01T00:01:30Z: restart."
    )
    assert "in 495 more spans until 1970-01-01T08:19:30Z" in found[-1]
    assert len(list(gap_notes(gaps[:MOST], "2026-11"))) == MOST


def test_known_seconds_are_those_that_no_gap_has() -> None:
    def known(*gaps: tuple[int, int], until: int | None = None, last: int | None = 900) -> int:
        none = Sums(0, 0)
        missing = tuple(Missing(*gap, "restart") for gap in gaps)
        answer = PastTraffic(0, 1000, {}, none, none, 0, 100, last, missing, "hours")
        return answer.known_seconds(until)

    assert known() == 800
    assert known(last=None) == 900
    assert known(until=500) == 400
    assert known((200, 300), (250, 350), (250, 260)) == 650  # they have time in common
    assert known((0, 150), (850, 2000)) == 700
    assert known((0, 2000)) == known(until=50) == 0
