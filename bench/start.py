"""Time until an agent has attached its hooks, and its memory.

The agent runs in its own network namespace, so that it does not count packets of this machine. The
baseline is a Python process that only imports the larger packages of the agent. ``full_…`` is the
most memory of an agent that has shipped batches of 65,536 flows (lib/full_agent.py).
``--json`` ends with one object on one line.
"""

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lib.process_memory import kilobytes, status

KZN = [sys.executable, "-m", "kzn.cli.main"]
AGENT = [*KZN, "agent", "--print", "--interval", "5m"]
ALONE = ["unshare", "--net", "--"]
PLAIN = "import asyncio, numpy, prometheus_client, google.protobuf"
ATTACHED = "attached postrouting/ipv6"
FULL_AGENT = ["unshare", "--net", "--mount", "--", sys.executable, "-m", "lib.full_agent"]
LIMIT_SECONDS = 20.0
GOALS = {"rss_to_plain": 1.26, "full_hwm_to_plain": 2.2}
"""Most memory as a ratio to that of the baseline, idle and with full buffers: what an agent took
before flows were rows (47.7 and 83.3 MB, where the baseline took 37.8).
"""


@dataclass(frozen=True, slots=True)
class Start:
    """One start of an agent: seconds from exec to the last hook, and its memory in kB when idle."""

    seconds: float
    rss_kb: int
    hwm_kb: int


def start_agent() -> Start:
    """Start an agent, wait for its hooks, read its memory when it is idle, and kill it."""
    began = time.perf_counter()
    with subprocess.Popen([*ALONE, *AGENT], stderr=subprocess.PIPE, text=True) as agent:
        try:
            assert agent.stderr is not None  # noqa: S101 - it is a pipe
            output = []
            for line in agent.stderr:
                output.append(line)
                if ATTACHED in line:
                    break
            else:
                raise SystemExit("".join(output) + "bench: the agent did not attach")
            seconds = time.perf_counter() - began
            settle(agent.pid)
            return Start(seconds, kilobytes(agent.pid, "VmRSS"), kilobytes(agent.pid, "VmHWM"))
        finally:
            agent.kill()


def settle(pid: int) -> None:
    """Wait until the agent sleeps in its event loop: it has imported all that it needs."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (has_event_loop(pid) and status(pid, "State").startswith("S")):
        if time.monotonic() > deadline:
            raise SystemExit("bench: the agent did not become idle")
        time.sleep(0.01)


def has_event_loop(pid: int) -> bool:
    """Whether the process has an epoll descriptor, as asyncio's loop does."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if "eventpoll" in str(descriptor.readlink()):
                return True
    return False


def plain() -> Start:
    """The baseline: seconds to import the packages, and the memory of the process then."""
    code = f"{PLAIN}; print(open('/proc/self/status').read())"
    began = time.perf_counter()
    text = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    seconds = time.perf_counter() - began
    rss, hwm = (int(re.search(rf"{name}:\s*(\d+)", text)[1]) for name in ("VmRSS", "VmHWM"))  # type: ignore[index]
    return Start(seconds, rss, hwm)


def help_seconds() -> float:
    """Seconds of `kzn --help`."""
    began = time.perf_counter()
    subprocess.run([*KZN, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def full() -> dict[str, int]:
    """Most memory in kB of an agent that has shipped full buffers."""
    done = subprocess.run(
        FULL_AGENT, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found


def imports_kubernetes() -> bool:
    """Whether the modules of the agent import the Kubernetes client."""
    code = "import sys, kzn.cli.agent, kzn.agent.main, kzn.agent.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return "kubernetes" in done.stdout.split()


def measure(times: int) -> dict[str, object]:
    """Medians of ``times`` starts of each kind, alternating."""
    agents, plains, helps = [], [], []
    for _ in range(times):
        agents.append(start_agent())
        plains.append(plain())
        helps.append(help_seconds())
    ours = statistics.median(one.seconds for one in agents)
    baseline = statistics.median(one.seconds for one in plains)
    with_flows = full()
    plain_kb = max(one.rss_kb for one in plains)
    ratios = {
        "rss_to_plain": round(max(one.rss_kb for one in agents) / plain_kb, 2),
        "full_hwm_to_plain": round(with_flows["hwm_kb"] / plain_kb, 2),
    }
    return {
        "name": "start",
        "ours": round(ours, 3),
        "baseline": round(baseline, 3),
        "ratio": round(ours / baseline, 2),
        "unit": "s from exec to attached",
        "machine": f"{platform.machine()} Linux {platform.release()}",
        "rss_kb": max(one.rss_kb for one in agents),
        "hwm_kb": max(one.hwm_kb for one in agents),
        "full_hwm_kb": with_flows["hwm_kb"],
        "baseline_rss_kb": plain_kb,
        **ratios,
        "over_goal": [name for name, most in GOALS.items() if ratios[name] > most],
        "help_seconds": round(statistics.median(helps), 3),
        "kubernetes_imported": imports_kubernetes(),
        "times": times,
    }


def main() -> None:
    """Print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one object on the last line")
    parser.add_argument("--times", type=int, default=5, help="starts of each kind")
    options = parser.parse_args()
    found = measure(options.times)
    if options.json:
        print(json.dumps(found))
        return
    print(f"kzn agent, exec to attached: {found['ours']} s; plain Python: {found['baseline']} s")
    print(f"memory: {found['rss_kb']} kB, at most {found['hwm_kb']} kB")
    print(f"with full buffers: at most {found['full_hwm_kb']} kB")
    print(f"plain Python: {found['baseline_rss_kb']} kB; kzn --help: {found['help_seconds']} s")


if __name__ == "__main__":
    main()
