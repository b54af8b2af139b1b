"""The page's own tests without a browser: types and Vitest."""

import subprocess
import sys

import pytest
from page_world import PAGE_TESTS, PROJECT


@pytest.mark.parametrize(
    "command",
    [("typescript/bin/tsc", "--noEmit", "-p", ".."), ("vitest/vitest.mjs", "run")],
    ids=["types", "vitest"],
)
def test_pure(command: tuple[str, ...]) -> None:
    program, *arguments = command
    done = subprocess.run(
        [sys.executable, PROJECT / "hatch_build.py", "node", f"node_modules/{program}", *arguments],
        cwd=PAGE_TESTS,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
