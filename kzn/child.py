"""Runs a module of kzn in a child process: one JSON request on stdin, one JSON answer on stdout.

For work that would keep memory (pyroute2: 25 MB) or may crash (libbpf on damaged BTF). A child runs
for about 0.1 s.

In: a module that calls `serve_request`, a request, a time limit.
Out: the answer. `ChildError` without one.
Never: more than the standard library, or a child that outlives the call.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Collection
from typing import Any

from kzn.errors import KznError


class ChildError(KznError):
    """A child gave no answer; the message is the reason. ``killed_by``: a signal's name or ""."""

    def __init__(self, message: str, *, killed_by: str = "") -> None:
        super().__init__(message)
        self.killed_by = killed_by


def run_child(module: str, request: Any, *, seconds: float, fds: Collection[int] = ()) -> Any:
    """The answer of ``module``; the child inherits ``fds`` under their numbers."""
    try:
        done = subprocess.run(
            _command(module),
            input=json.dumps(request).encode(),
            capture_output=True,
            pass_fds=fds,
            timeout=seconds,
            check=False,
            process_group=0,  # a Ctrl-C is for the parent, which waits for the answer
        )
    except subprocess.TimeoutExpired as error:
        raise _too_late(seconds) from error
    except OSError as error:
        raise ChildError(str(error)) from error
    return _answer(done.returncode, done.stdout, done.stderr)


def serve_request(answer: Callable[[Any], Any]) -> None:
    """In the child: answer the one request."""
    sys.stdout.write(json.dumps(answer(json.load(sys.stdin))))


def _command(module: str) -> list[str]:
    return [sys.executable, "-P", "-m", module]


def _too_late(seconds: float) -> ChildError:
    return ChildError(f"no answer within {seconds:g} s")


def _answer(code: int, out: bytes, err: bytes) -> Any:
    if code < 0:
        name = signal.Signals(-code).name
        raise ChildError(f"ended by {name}", killed_by=name)
    if code:
        lines = err.decode(errors="replace").strip().splitlines()
        raise ChildError(lines[-1] if lines else f"exit code {code}")
    return json.loads(out)
