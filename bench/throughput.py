"""What the hook takes from iperf3 between two pods: pairs of runs, without and with it, in turn."""

import json
import statistics
import sys
from contextlib import ExitStack

from lib.report import finish

from kzn.agent.install import unpinned
from kzn.demo import namespaces
from kzn.demo.lab import Lab, require_tools
from kzn.probes.postrouting import PROBE
from kzn.probes.settings import Settings

PAIRS = 9
SECONDS = "2"


def gigabits(lab: Lab) -> float:
    """Gbit/s that one TCP connection brought across the zones."""
    b = lab.pod("b1-p1")
    server = lab.popen(b.namespace, ["iperf3", "-s", "-1", "-B", b.ipv4], stdout=-3)
    try:
        for _ in range(50):
            done = lab.run(
                lab.pod("a1-p1").namespace, ["iperf3", "-J", "-c", b.ipv4, "-t", SECONDS]
            )
            if "sum_received" in (end := json.loads(done.stdout or "{}").get("end", {})):
                return float(end["sum_received"]["bits_per_second"]) / 1e9
        sys.exit(f"iperf3: {done.stdout}{done.stderr}")
    finally:
        server.kill()
        server.wait()


def attached(lab: Lab, stack: ExitStack) -> None:
    """The hook on every node, until the stack ends."""
    for node in lab.nodes:
        with namespaces.inside(node.namespace):
            stack.enter_context(unpinned(PROBE, Settings()))


def main() -> None:
    """Measure and report."""
    require_tools({"iperf3": "iperf3"})
    without, with_hook = [], []
    with Lab("kznbench", pods_per_node=1) as lab:
        gigabits(lab)
        for turn in range(PAIRS):
            for hook in (False, True) if turn % 2 else (True, False):
                with ExitStack() as stack:
                    if hook:
                        attached(lab, stack)
                    (with_hook if hook else without).append(gigabits(lab))
    ratios = [ours / plain for ours, plain in zip(with_hook, without, strict=True)]
    more = {
        "pairs": PAIRS,
        "loss_percent": round(100 * (1 - statistics.median(ratios)), 2),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }
    finish("throughput", statistics.median(with_hook), statistics.median(without), "Gbit/s", more)


if __name__ == "__main__":
    main()
