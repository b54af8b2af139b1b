"""Fields of /proc/PID/status."""

import re
from pathlib import Path


def status(pid: int, field: str) -> str:
    """A field as text; SystemExit if the process has none."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{field}:\s*(.*)$", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"bench: process {pid} has no {field}")
    return found[1]


def kilobytes(pid: int, field: str) -> int:
    """A memory field in kB."""
    return int(status(pid, field).split()[0])
