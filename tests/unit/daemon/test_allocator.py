"""The allocator keeps memory that was freed, where the C library can be told so."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from kzn.daemon.allocator import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit(3)
for _ in range(3):
    [bytearray(b"x") * (1 << 20) for _ in range(30)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    [bytearray(b"x") * (1 << 20) for _ in range(30)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=False
    )
    if done.returncode == 3:
        pytest.skip("this C library has no mallopt")
    return int(done.stdout)


def test_large_arrays_do_not_fault_their_pages_in_anew_each_time() -> None:
    assert faults("kept") < faults("returned") / 4
