"""Address and certificate of a peer, and the permit of an authenticated agent.

In: the peer's address and its verified TLS certificate. Out: `PeerInfo` and `Permit` values.
Never: a decision (authenticator.py).
"""

import math
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from kzn.wire.messages import Hello, Refusal


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """Address and certificate of a peer.

    ``names``: the DNS names (subjectAltName) of its verified certificate, None without mutual TLS.
    ``seconds``: how long the certificate stays valid.
    """

    address: str
    names: frozenset[str] | None = None
    seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Permit:
    """The agent may send for ``seconds``; then it has to reconnect and authenticate again."""

    seconds: float = math.inf


Authenticate = Callable[[Hello, PeerInfo], Awaitable[Permit | Refusal]]
"""Authenticates an agent for the node that its Hello names."""


async def accept_all(_hello: Hello, _peer: PeerInfo) -> Permit:
    """Accept every agent (``--auth none``)."""
    return Permit()


def peer_info(address: str, certificate: dict[str, Any]) -> PeerInfo:
    """`PeerInfo` from `ssl.SSLObject.getpeercert`; an empty ``certificate`` means none was sent."""
    if not certificate:
        return PeerInfo(address)
    names = (name for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS")
    until = ssl.cert_time_to_seconds(certificate["notAfter"])
    return PeerInfo(address, frozenset(names), float(until) - time.time())
