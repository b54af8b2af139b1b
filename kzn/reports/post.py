"""Posts the summary of a report to an incoming webhook of Slack or Teams.

In: a report, the URL. Out: one POST of JSON. Raises KznError when the webhook does not take it,
without the URL, which is a secret. The bodies are those of Slack's incoming webhooks (``text``) and
of the Teams workflow "when a webhook request is received" (a message with an adaptive card).
"""

import json
import re
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from kzn.errors import KznError, UsageError
from kzn.reports.amounts import printable
from kzn.reports.numbers import change, money, share, size
from kzn.reports.report import Line, Report
from kzn.reports.table import span, title

TIMEOUT_SECONDS = 30.0
MOST_LINES = 10
MOST_LETTERS = 100
"""Of a name: groups may be any text, and each line of a table is as wide as its longest name."""


class _NoRedirects(HTTPRedirectHandler):
    """A webhook that moved is an error: a report is not sent to a place that was not named."""

    def redirect_request(self, *_args: Any) -> None:
        return None


def read_url(path: Path) -> str:
    """The URL in a file; UsageError."""
    try:
        url = path.read_text("utf-8-sig").strip()  # PowerShell writes a byte order mark
    except OSError as error:
        raise UsageError(f"--post-to {path}: {error.strerror}") from error
    except ValueError:
        url = ""
    try:
        parts = urlsplit(url)
        usable = bool(parts.scheme in ("https", "http") and parts.hostname and parts.port != 0)
    except ValueError:  # its text has the URL
        usable = False
    if not usable or "@" in parts.netloc or not all("!" <= letter <= "~" for letter in url):
        raise UsageError(f"--post-to {path} has no URL", hint="one line: https://HOST/PATH")
    return url


def post(url: str, style: str, report: Report) -> None:
    """Send the summary; KznError with the status and the beginning of a refusal.

    A status of success is enough: what follows is not read, so that a body that stalls does not
    have the report sent again.
    """
    body = json.dumps(teams(report) if style == "teams" else slack(report)).encode()
    request = Request(  # noqa: S310 - http(s), read_url
        url, data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    host = urlsplit(url).hostname
    try:
        build_opener(_NoRedirects).open(request, timeout=TIMEOUT_SECONDS).close()
    except HTTPError as error:
        raise KznError(f"the webhook at {host} answered {error.code}{_said(error)}") from None
    except UnicodeError:  # its text has the name
        raise KznError(f"the webhook at {host}: not a name that DNS can have") from None
    except (OSError, HTTPException) as error:
        raise KznError(f"the webhook at {host} cannot be reached: {_reason(error)}") from None


def _said(error: HTTPError) -> str:
    """The beginning of an answer that is a refusal."""
    try:
        text = printable(error.read(200).decode(errors="replace")).strip()
    except (OSError, HTTPException):
        return ""
    return f": {text}" if text else ""


def _reason(error: OSError | HTTPException) -> str:
    """Why there was no answer, without texts that may have the URL."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return type(reason).__name__


def slack(report: Report) -> dict[str, Any]:
    """The body for Slack: text, with the table in a fixed width."""
    lines = "\n".join(_lines(report))
    notes = _plain("\n".join(report.notes))
    head = _plain(title(report))
    text = f"*{head}*\n{span(report)}\n```\n{_plain(lines)}\n```\n{notes}".rstrip()
    return {"text": text}


def _plain(text: str) -> str:
    """Text of a cluster, so that no name mentions a channel or ends the block."""
    for letter, other in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("`", "'")):
        text = text.replace(letter, other)
    return text


def _unmarked(line: str) -> str:
    """Text of a cluster, so that a card's Markdown shows each letter of it."""
    line = re.sub(r"([\\`*_\[\]<>~|])", r"\\\1", line)
    line = re.sub(r"^(\s*)([-+#=])", r"\1\\\2", line)
    return re.sub(r"^(\s*\d+)([.)]\s)", r"\1\\\2", line)


def teams(report: Report) -> dict[str, Any]:
    """The body for Teams: a message with one adaptive card."""
    blocks: list[dict[str, Any]] = [
        {"type": "TextBlock", "text": _unmarked(title(report)), "weight": "Bolder", "wrap": True},
        {"type": "TextBlock", "text": span(report), "isSubtle": True, "wrap": True},
        {
            "type": "TextBlock",
            "text": "\n\n".join(map(_unmarked, _lines(report))),
            "fontType": "Monospace",
            "wrap": True,
        },
        *({"type": "TextBlock", "text": _unmarked(note), "wrap": True} for note in report.notes),
    ]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
    }
    content = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": content, "content": card}]}


def _lines(report: Report) -> list[str]:
    rows = [*report.lines[:MOST_LINES], report.total]
    width = max(len(_short(row.name)) for row in rows)
    lines = [_line(row, report, width) for row in rows]
    left = len(report.lines) - MOST_LINES
    if left > 0:
        lines.insert(len(lines) - 1, f"and {left} more")
    return lines


def _short(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"


def _line(row: Line, report: Report, width: int) -> str:
    amount = row.amount
    cost = f"{money(amount.money(report.currency))} {report.currency}" if report.currency else ""
    parts = [_short(row.name).ljust(width), cost, size(amount.crossed), share(row.share)]
    if row.change is not None:
        parts.append(change(row.change))
    return "  ".join(part for part in parts if part)
