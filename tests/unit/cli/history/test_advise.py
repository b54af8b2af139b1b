"""`kzn advise`: the text of an answer, and the question that a server gets."""

import asyncio
import json
from typing import Any

import pytest
from advice_history import Store, sources_of
from smallserver import serving

from kzn.cli import main
from kzn.cli.history.advise import question, text_of
from kzn.errors import EXIT_OK
from kzn.server.advice import Adviser
from kzn.server.http.advice import document_of

TABLE = """\
2023-11-14T00:10:00Z to 2023-11-15T00:10:00Z, 10 min of it measured; a month is 730 h
less than a day was measured: amounts of a month are only as good as that

saving/month  stays/month  verdict   sure  rule       what
   51.33 USD      2.76 TB  proposed  high  same-zone  shop/cart: keep clients to endpoints of\
 their zone
total: 51.33 USD and 2.76 TB a month; what two proposals save is counted once"""
"""600 MiB in 600 s of data are 4,380 times that in a month."""


def document() -> Any:
    advice = asyncio.run(Adviser(sources_of(Store())).advice())
    return json.loads(json.dumps(document_of(advice, [], 10)))


def test_a_table_has_a_line_for_each_proposal_and_the_total() -> None:
    assert "\n".join(text_of(document(), is_long=False)) == TABLE


def test_of_a_service_all_is_shown() -> None:
    text = "\n".join(text_of(document(), is_long=True))
    assert "kubectl -n shop patch service cart --type merge" in text
    assert "a: 33% of the clients, endpoints 2 → 2, load of each 1.00 → 1.00" in text
    assert "a → b: 0.02 USD/GiB at both ends (aws, " in text
    assert "confidence high, effort 1" in text


def test_without_a_proposal_it_says_so() -> None:
    found = document() | {"proposals": [], "of": 0}
    assert list(text_of(found, is_long=False))[-1] == "no proposal"


def test_json_is_the_answer_of_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(path: str, _limit: str | None) -> tuple[int, bytes]:
        assert path == "advice"
        return 200, json.dumps(document()).encode()

    with serving(answer) as url:
        command = ["advise", "--url", url, "--json", "--since", "24h", "--service", "shop/cart"]
        assert main.run([*command, "--min-saving", "5"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out)["of"] == 1


@pytest.mark.parametrize("amount", [0.0, 0.01, 1234567.89, 999999.5, 1e12])
def test_the_least_saving_is_asked_for_with_all_its_digits(amount: float) -> None:
    [(name, text)] = question(None, None, amount)
    assert (name, float(text)) == ("min_saving", amount)
    assert question("24h", "shop/cart", None) == [("since", "24h"), ("service", "shop/cart")]


def test_a_window_with_a_day_of_data_has_no_caution() -> None:
    found = document()
    found["window"]["seconds"] = 86_400
    first, second, *_ = text_of(found, is_long=False)
    assert first.endswith("24.0 h of it measured; a month is 730 h")
    assert not second


def test_what_saves_nothing_lacks_no_price_and_names_obey_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = document()
    left = found["proposals"][0] | {
        "verdict": "leave",
        "saved_bytes_per_month": 0,
        "saving_per_month": {},
        "title": "x\x1b[2J",
    }
    found |= {"proposals": [left]}
    rows = list(text_of(found, is_long=False))
    assert rows[4].split()[:3] == ["-", "0", "B"]
    assert "  saves - and 0 B a month" in list(text_of(found, is_long=True))
    with serving(lambda _path, _limit: (200, json.dumps(found).encode())) as url:
        assert main.run(["advise", "--url", url]) == EXIT_OK
    assert "\x1b" not in capsys.readouterr().out
