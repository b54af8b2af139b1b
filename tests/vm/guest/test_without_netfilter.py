"""On a kernel without BPF on netfilter hooks: a refusal in a sentence, nothing left behind."""

import json
import subprocess
import sys
from pathlib import Path

KZN = [sys.executable, "-m", "kzn.cli.main"]


def kzn(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*KZN, *arguments], capture_output=True, text=True, check=False)


def test_the_probe_says_what_this_kernel_lacks() -> None:
    done = kzn("probes", "--json")
    found = {row["name"]: row for row in json.loads(done.stdout)}
    postrouting = found["postrouting"]
    assert postrouting["supported"] is False
    assert "this kernel has no BPF programs on netfilter hooks" in postrouting["reason"]
    assert "6.4" in postrouting["hint"]


def test_the_agent_refuses_with_the_exit_code_for_a_kernel_that_cannot() -> None:
    done = kzn("agent", "--print", "--probe", "postrouting")
    assert done.returncode == 3
    assert "no BPF programs on netfilter hooks" in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("/sys/fs/bpf/kzn").exists()
