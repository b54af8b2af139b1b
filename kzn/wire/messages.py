"""The messages of agent and server as frozen values; codec.py makes bytes of them."""

from dataclasses import dataclass
from enum import StrEnum

from kzn.wire.encode_batch import EncodedBatch
from kzn.wire.limits import Limits

PROTOCOL = 1
"""Increased for changes that an older peer would misunderstand, not for added fields."""

MAX_TEXT = 1000
"""Most characters of a refusal's text, sent or received."""


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
    SECOND_AGENT = "second_agent"
    UNSPECIFIED = "unspecified"

    @property
    def permanent(self) -> bool:
        """True if a retry of the same agent would be refused again."""
        return self in (Reason.VERSION, Reason.TOKEN, Reason.NODE)


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of an agent; ``process`` is random.

    ``process`` and ``interval_ms``, the time between two batches, are 0 of an older agent.
    """

    node: str
    epoch: int
    token: str
    agent_version: str
    probe: str
    protocol: int = PROTOCOL
    process: int = 0
    interval_ms: int = 0


@dataclass(frozen=True, slots=True)
class Welcome:
    """The server accepts batches; ``last_applied`` of this node and epoch, None if unknown.

    ``instance`` identifies the server's ledger; 0 is unknown.
    """

    last_applied: int | None
    limits: Limits
    protocol: int = PROTOCOL
    instance: int = 0
    max_node_addresses: int = 0
    """0: the server, an older one, takes no `NodeAddresses`."""
    compressions: int = 0
    """Bit N: the server takes batches of compression N besides zlib (compression.py)."""


@dataclass(frozen=True, slots=True)
class NodeAddresses:
    """The addresses of the agent's node, 16 bytes each, in place of those sent before."""

    addresses: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The last message of a server on a connection."""

    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Ack:
    """Batch ``sequence`` is applied; ``duplicate`` if it was applied before.

    Sequence 0 acknowledges `NodeAddresses`.
    """

    sequence: int
    duplicate: bool = False


ToServer = Hello | EncodedBatch | NodeAddresses
ToAgent = Welcome | Refusal | Ack
