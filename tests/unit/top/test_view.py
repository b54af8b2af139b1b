"""What each key changes."""

from dataclasses import replace

import pytest

from kzn.top.reading import Workload
from kzn.top.view import HELP, MAX_FILTER, PAGE, SORTS, KeyReader, View, position, pressed

ROWS = [Workload("ns", "Deployment", f"w{n:02}") for n in range(30)]


def after(view: View, *keys: str) -> View:
    for key in keys:
        found = pressed(view, key, ROWS)
        assert found is not None
        view = found
    return view


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"jq", ["j", "q"]),
        (b"\x1b[A\x1b[B\x1b[C\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1bOA\x1bOF", ["up", "end"]),
        (b"\x1b[5~\x1b[6~\x1b[1~\x1b[4~", ["page-up", "page-down", "home", "end"]),
        (b"\x1b", ["escape"]),
        (b"\r\n\x7f", ["enter", "enter", "backspace"]),
        (b"\x1b[15~x", ["", "x"]),
        (b"\x1b[", [""]),
        ("é".encode(), ["é"]),
    ],
)
def test_bytes_of_a_terminal_are_keys(data: bytes, keys: list[str]) -> None:
    assert list(KeyReader().keys(data)) == keys


def test_a_character_that_comes_in_two_reads_is_one_key() -> None:
    reader = KeyReader()
    assert list(reader.keys(b"\xc3")) == []
    assert list(reader.keys(b"\xa9")) == ["é"]


def test_the_cursor_moves_and_stays_on_the_list() -> None:
    assert position(after(View(), "down", "j", "up"), ROWS) == 1
    assert position(after(View(), "up"), ROWS) == 0
    assert position(after(View(), "page-down"), ROWS) == PAGE
    assert position(after(View(), "end", "down"), ROWS) == 29
    assert position(after(View(), "end", "home"), ROWS) == 0


def test_the_cursor_stays_on_its_workload_when_the_order_changes() -> None:
    view = after(View(), "down", "down")
    assert position(view, list(reversed(ROWS))) == 27
    assert position(view, ROWS[5:]) == 0


def test_enter_opens_what_is_under_the_cursor_and_escape_goes_back() -> None:
    opened = after(View(), "down", "enter")
    assert opened.opened == ROWS[1]
    assert after(opened, "c").sort == "cost"
    assert after(opened, "down", "/").opened == ROWS[1]
    assert after(opened, "escape") == replace(opened, opened=None)
    assert after(opened, "left") == replace(opened, opened=None)


def test_a_filter_takes_every_character_until_enter_or_escape() -> None:
    typing = after(View(), "/", "q", "r", "x", "backspace", "up")
    assert (typing.filter, typing.editing, typing.sort) == ("qr", True, "rate")
    assert after(typing, "enter") == View(filter="qr")
    assert after(typing, "escape") == View()
    assert after(View(filter="qr"), "escape") == View()
    assert after(View(filter="qr"), "left") == View(filter="qr")
    assert len(after(View(), "/", *"x" * 99).filter) == MAX_FILTER


def test_words_of_a_filter_must_all_be_found_in_any_case() -> None:
    view = View(filter="SHOP zone-a")
    assert view.matches("shop", "Deployment", "cart", "zone-a")
    assert not view.matches("shop", "Deployment", "cart", "zone-b")
    assert View().matches()


def test_q_ends_everywhere_but_in_a_filter() -> None:
    for view in (View(), View(help=True), View(opened=ROWS[0])):
        assert pressed(view, "q", ROWS) is None


def test_help_has_every_key() -> None:
    assert after(View(), "?").help
    assert not after(View(), "?", "?").help
    assert not after(View(), "?", "escape").help
    text = " ".join(keys for keys, _ in HELP)
    assert all(key in text.split() for key in SORTS)


def test_without_workloads_keys_do_nothing() -> None:
    for key in ("down", "enter", "end", "", "x"):
        assert pressed(View(), key, []) == View()
