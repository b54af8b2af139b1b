"""The doctor's table, its last line and its exit code."""

import json

import pytest

from kzn.agent.doctor import examine
from kzn.agent.doctor.finding import Finding, State
from kzn.cli import main
from kzn.cli.doctor import verdict


def finding(state: State) -> Finding:
    return Finding("thing", state, "it is so", "do this")


@pytest.mark.parametrize(
    ("states", "line", "code"),
    [
        (["ok", "unknown"], "1 ok, 1 unknown: kzn agent can count here", 0),
        (["ok", "warn"], "1 ok, 1 warn: kzn agent can count here; see the warnings", 0),
        (["ok", "fail", "warn"], "1 ok, 1 warn, 1 fail: kzn agent cannot count here as it is", 3),
    ],
)
def test_a_failed_finding_decides_the_exit_code(
    states: list[State],
    line: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    findings = [finding(state) for state in states]
    monkeypatch.setattr(examine, "examine", lambda _wanted: findings)
    assert verdict(findings).startswith(line)
    assert main.run(["doctor"]) == code
    table = capsys.readouterr().out
    assert line in table
    assert table.count("to do: do this") == len([state for state in states if state != "ok"])
    assert main.run(["doctor", "--json"]) == code
    listed = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in listed] == states
    assert listed[0].keys() == {"name", "state", "message", "hint"}


def test_no_proof_examines_everything_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["doctor", "--no-proof", "--json"]) in (0, 3)
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["proof"]["message"] == "skipped by --no-proof"
    names = {"BTF", "libbpf", "capabilities", "memory", "conntrack", "pods' devices", "bridges"}
    assert names <= found.keys()
    assert all(row["message"] for row in found.values())


def test_an_unknown_probe_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["doctor", "--no-proof", "--probe", "nope"]) == 2
    assert "unknown probe 'nope'" in capsys.readouterr().err
