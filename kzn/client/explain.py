"""The answer of /api/v1/explain as values, and the request for it.

In: two addresses, and optionally a node and a time. Out: an `Explanation`.
Raises: UsageError for an input that is malformed, KznError when the server cannot answer.
"""

import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kzn.client.api import AddressOwner
from kzn.errors import UsageError
from kzn.model import ip

if TYPE_CHECKING:
    from kzn.client.http import ApiClient

_AGO = re.compile(r"(?=.)(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9})s)?")


@dataclass(frozen=True, slots=True)
class OwnerInterval:
    """``owner`` has an address from ``since`` until ``until``: RFC 3339, empty if not known.

    ``until`` is empty while it has the address; ``deleting_since`` is empty unless the owner is
    being deleted.
    """

    owner: AddressOwner
    since: str
    until: str
    deleting_since: str

    def to_json(self) -> dict[str, str]:
        """The object of the answer."""
        times = {
            "since": self.since,
            "until": self.until,
            "deleting_since": self.deleting_since,
        }
        return self.owner.to_json() | times

    @classmethod
    def from_json(cls, row: Any) -> "OwnerInterval":
        """Read one object of the answer."""
        owner = AddressOwner.from_json(row)
        return cls(owner, str(row["since"]), str(row["until"]), str(row["deleting_since"]))


@dataclass(frozen=True, slots=True)
class ExplainedEnd:
    """One end of the flow: its owner at that time, its side as seen from the node, its history."""

    owner: AddressOwner
    side: str
    history: tuple[OwnerInterval, ...]

    def to_json(self) -> dict[str, Any]:
        """The object of the answer."""
        rest = {"side": self.side, "history": [found.to_json() for found in self.history]}
        return self.owner.to_json() | rest

    @classmethod
    def from_json(cls, row: Any) -> "ExplainedEnd":
        """Read one object of the answer."""
        history = tuple(OwnerInterval.from_json(found) for found in row["history"])
        return cls(AddressOwner.from_json(row), str(row["side"]), history)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdict on a packet from ``src`` to ``dst`` that ``node`` saw at ``time`` (RFC 3339).

    ``node_chosen_by`` is query, source, destination, or any. ``class_`` (JSON key ``class``) is
    empty unless the packet is attributed, ``reason`` unless it is unresolved. ``charged_to`` is the
    name of the reporting node when the packet is charged to it in place of the source. ``via`` is
    the outer destination of a packet that the node sent in a tunnel. ``retried``
    says whether a batch with such a packet would be retried before this verdict. ``why`` and
    ``advice`` are sentences.
    """

    time: str
    node: str
    node_chosen_by: str
    src: ExplainedEnd
    dst: ExplainedEnd
    verdict: str
    class_: str
    reason: str
    charged_to: str
    retried: bool
    why: tuple[str, ...]
    advice: tuple[str, ...]
    via: ExplainedEnd | None = None

    def to_json(self) -> dict[str, Any]:
        """The object of the answer."""
        found = asdict(self)
        found["src"], found["dst"] = self.src.to_json(), self.dst.to_json()
        found["via"] = self.via.to_json() if self.via else None
        return {key.removesuffix("_"): value for key, value in found.items()}

    @classmethod
    def from_json(cls, answer: Any) -> "Explanation":
        """Read the object of an answer."""
        return cls(
            time=str(answer["time"]),
            node=str(answer["node"]),
            node_chosen_by=str(answer["node_chosen_by"]),
            src=ExplainedEnd.from_json(answer["src"]),
            dst=ExplainedEnd.from_json(answer["dst"]),
            verdict=str(answer["verdict"]),
            class_=str(answer["class"]),
            reason=str(answer["reason"]),
            charged_to=str(answer["charged_to"]),
            retried=bool(answer["retried"]),
            why=tuple(map(str, answer["why"])),
            advice=tuple(map(str, answer["advice"])),
            via=ExplainedEnd.from_json(via) if (via := answer.get("via")) else None,
        )


def explain(
    api: "ApiClient", src: str, dst: str, node: str = "", at: str = "", via: str = ""
) -> Explanation:
    """The server's explanation; ``node``, ``at`` and ``via`` as in `/api/v1/explain`, or empty."""
    query = [("src", parse_address(src)), ("dst", parse_address(dst))]
    query += [(key, value) for key, value in (("node", node), ("at", at)) if value]
    query += [("via", parse_address(via))] if via else []
    return api.fetch("explain", Explanation.from_json, query)


def parse_address(text: str) -> str:
    """An address in its shortest form; UsageError for text that is not one."""
    try:
        return ip.text(ip.pack(text))
    except ValueError as error:
        hint = "write an IPv4 or IPv6 address, such as 10.0.0.1"
        raise UsageError(f"{text[:45]!r} is not an IP address", hint=hint) from error


def parse_time(text: str, now: float) -> float:
    """``10m``, ``1h30m`` (ago) or RFC 3339 as seconds of the epoch, as ``now``; UsageError.

    Also for a time that is later than ``now``.
    """
    found = parse_any_time(text, now)
    if found > now + 1.0:
        raise UsageError(f"{text[:40]!r} is in the future", hint="leave it out for now")
    return min(found, now)


def parse_any_time(text: str, now: float) -> float:
    """As `parse_time`, of the future as well."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        hours, minutes, seconds = (int(number or 0) for number in ago.groups())
        return now - (hours * 3600 + minutes * 60 + seconds)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UsageError(
            f"{text[:40]!r} is not a time",
            hint="write how long ago, such as 90s, 10m or 1h30m, or 2030-01-31T12:00:00Z",
        )
    return found.timestamp()


def timestamp(epoch: float) -> str:
    """Seconds of the epoch as RFC 3339 in UTC; empty for a time that cannot be written so."""
    try:
        return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError):
        return ""
