"""docs/security.md lists every reason for which a connection is refused, and no other."""

import re
from pathlib import Path

from kzn.wire.messages import Reason

ROOT = Path(__file__).parents[4]
AGENTS_OWN = {"closed", "wrong_ack", "unexpected_message", "other_server"}
"""Reasons that only an agent has for ending a connection."""
BROKEN = {"frame_cut"}
"""Counted in kzn_server_broken_connections_total."""


def reasons_in_the_code() -> set[str]:
    found = {str(reason) for reason in Reason} - {"unspecified", "too_large"}
    for path in (ROOT / "kzn" / "wire").glob("[a-z]*.py"):
        found |= set(re.findall(r'reason="(\w+)"', path.read_text()))
    for name in ("connection.py", "receiver.py"):
        text = (ROOT / "kzn" / "server" / "receive" / name).read_text()
        found |= set(re.findall(r'(?:cut\(|_RefusedPeer\(\w+, |return )"(\w+)"', text))
    return found - AGENTS_OWN - BROKEN


def test_the_page_explains_every_reason() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    _, _, table = page.partition("| reason | what it was |")
    rows = re.findall(r"^\| (`[^|]*) \|", table.partition("\n\n")[0], re.MULTILINE)
    assert {word for row in rows for word in re.findall(r"`(\w+)`", row)} == reasons_in_the_code()
