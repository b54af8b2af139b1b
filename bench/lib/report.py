"""Prints the result of a bench: figures as text, or one JSON object on the last line."""

import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def machine() -> str:
    """Processor, count of CPUs and kernel of this machine."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} CPUs, {platform.release()}"
    )


def warn_of_load() -> None:
    """Warn on stderr if other work may have taken turns on the CPUs: figures are noise then."""
    load, cpus = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load > cpus:
        print(
            f"bench: load average {load:.1f} on {cpus} CPUs: do not trust these figures, nor their "
            "ratios; measure again when the machine is quiet",
            file=sys.stderr,
        )


def finish(name: str, ours: float, baseline: float, unit: str, more: Mapping[str, Any]) -> None:
    """Print the result; ``ratio`` is ours to baseline, of the same run on this machine."""
    result = {
        "name": name,
        "ours": round(ours, 3),
        "baseline": round(baseline, 3),
        "ratio": round(ours / baseline, 3) if baseline else None,
        "unit": unit,
        "machine": machine(),
        **more,
    }
    if "--json" in sys.argv[1:]:
        print(json.dumps(result))
        return
    width = max(len(key) for key in result)
    for key, value in result.items():
        print(f"{key:<{width}}  {value}")
