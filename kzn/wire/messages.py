"""What agent and server say to each other, as frozen values; codec.py turns them into bytes."""

from dataclasses import dataclass
from enum import StrEnum

from kzn.wire.encode_batch import EncodedBatch
from kzn.wire.limits import Limits

PROTOCOL = 1
"""Raised when an older peer would misunderstand; added fields do not raise it."""

MAX_TEXT = 1000
"""Characters of a refusal's text that are sent, and kept of what a peer sent."""


class Reason(StrEnum):
    """Why a server refuses; the values are metric labels."""

    VERSION = "version"
    TOKEN = "token"  # noqa: S105 - the word, not one
    NODE = "node"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    UNEXPECTED = "unexpected"
    BUSY = "busy"
    TIMEOUT = "timeout"
    SHUTTING_DOWN = "shutting_down"
    INTERNAL = "internal"
    UNSPECIFIED = "unspecified"

    @property
    def permanent(self) -> bool:
        """True when the same agent would be refused again however long it waits."""
        return self in (Reason.VERSION, Reason.TOKEN, Reason.NODE)


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of an agent."""

    node: str
    epoch: int
    token: str
    agent_version: str
    probe: str
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True)
class Welcome:
    """The server takes batches; ``last_applied`` of this node and epoch, None when not known.

    ``instance`` names the server's ledger: the same number, the same ledger; 0 is not known.
    """

    last_applied: int | None
    limits: Limits
    protocol: int = PROTOCOL
    instance: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The last message of a server on a connection."""

    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Ack:
    """Batch ``sequence`` is applied; ``duplicate`` when it had been before."""

    sequence: int
    duplicate: bool = False


ToServer = Hello | EncodedBatch
ToAgent = Welcome | Refusal | Ack
