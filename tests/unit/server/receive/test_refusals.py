"""docs/security.md lists exactly the reasons for which the server refuses a connection."""

import re
from pathlib import Path

from kzn.wire.messages import Reason

ROOT = Path(__file__).parents[4]
AGENT_ONLY = {"closed", "wrong_ack", "unexpected_message", "other_server"}
"""Reasons for which only an agent closes a connection."""
NOT_REFUSED = {"frame_cut"}
"""Counted in kzn_server_broken_connections_total instead."""


def reasons_in_code() -> set[str]:
    found = {str(reason) for reason in Reason} - {"unspecified", "too_large"}
    for path in (ROOT / "kzn" / "wire").glob("[a-z]*.py"):
        found |= set(re.findall(r'reason="(\w+)"', path.read_text()))
    for name in ("connection.py", "receiver.py"):
        text = (ROOT / "kzn" / "server" / "receive" / name).read_text()
        found |= set(
            re.findall(r'(?:cut\(\s*|_RefusedPeer\(\w+, |return |refusals\[)"(\w+)"', text)
        )
    return found - AGENT_ONLY - NOT_REFUSED


def test_the_page_lists_every_reason() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    _, _, table = page.partition("| reason |")
    rows = re.findall(r"^\| (`[^|]*) \|", table.partition("\n\n")[0], re.MULTILINE)
    assert {word for row in rows for word in re.findall(r"`(\w+)`", row)} == reasons_in_code()
