"""Child processes: an answer, or the reason why there is none."""

import os
from pathlib import Path

import pytest

from kzn.child import ChildError, run_child

CHILD = """
import os, signal, sys, time
from kzn.child import serve_request

def answer(request):
    act = request["act"]
    if act == "fail":
        print("first line", file=sys.stderr)
        raise SystemExit("no such device")
    if act == "exit":
        raise SystemExit(5)
    if act == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if act == "hang":
        with open(request["started"], "w") as file:
            file.write(str(os.getpid()))
        os.rename(request["started"], request["started"] + ".pid")
        time.sleep(60)
    if act == "write":
        os.write(request["fd"], b"inherited")
    return {"sum": sum(request.get("numbers", []))}

serve_request(answer)
"""
MODULE = "kzn_test_child"
SECONDS = 20.0


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child module in a folder of its own."""
    (tmp_path / f"{MODULE}.py").write_text(CHILD)
    paths = [str(tmp_path), str(Path(__file__).parents[2])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


def test_a_request_gets_its_answer() -> None:
    request = {"act": "add", "numbers": [1, 2, 3]}
    assert run_child(MODULE, request, seconds=SECONDS) == {"sum": 6}


def test_the_child_inherits_the_descriptors_that_it_is_given() -> None:
    reading, writing = os.pipe()
    try:
        run_child(MODULE, {"act": "write", "fd": writing}, seconds=SECONDS, fds=[writing])
        assert os.read(reading, 100) == b"inherited"
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    ("act", "message", "killed_by"),
    [
        ("fail", "no such device", ""),
        ("exit", "exit code 5", ""),
        ("crash", "ended by SIGSEGV", "SIGSEGV"),
    ],
)
def test_a_failed_child_is_an_error_with_its_last_line_or_how_it_ended(
    act: str, message: str, killed_by: str
) -> None:
    with pytest.raises(ChildError) as raised:
        run_child(MODULE, {"act": act}, seconds=SECONDS)
    assert (raised.value.message, raised.value.killed_by) == (message, killed_by)


def test_a_child_that_exceeds_its_time_limit_is_an_error(tmp_path: Path) -> None:
    request = {"act": "hang", "started": str(tmp_path / "started")}
    with pytest.raises(ChildError, match=r"no answer within 0\.1 s"):
        run_child(MODULE, request, seconds=0.1)


def test_a_module_that_is_missing_is_an_error() -> None:
    with pytest.raises(ChildError, match="No module named"):
        run_child("kzn_no_such_module", {}, seconds=SECONDS)
