"""Authenticates agents as configured: not at all, by token, by client certificate, or by both.

In: an agent's Hello, and address and certificate of its connection.
Out: a permit or a refusal.
Never: a permit for a node other than the agent's own, unless authentication is off.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

from kzn.daemon.tls import ServerTls
from kzn.server.auth.permit import PeerInfo, Permit
from kzn.server.auth.tokens import TokenAuthenticator
from kzn.server.config import AuthMode
from kzn.wire.messages import Hello, Reason, Refusal


@dataclass(frozen=True, slots=True)
class SecurityState:
    """Authentication mode, token reviews by result, reads of the TLS files."""

    mode: str = "none"
    reviews: Mapping[str, int] = field(default_factory=dict)
    tls_loaded: int = 0
    tls_failed: int = 0
    http_mode: str = "none"
    http_decisions: Mapping[str, int] = field(default_factory=dict)
    """Requests by what the server decided about their token."""


class Authenticator:
    """Checks the certificate (with a client CA), the token (with ``tokens``), and readiness.

    ``api_client``: the connection to the API server, entered by the caller while it authenticates.
    """

    def __init__(
        self,
        mode: AuthMode,
        why_not_ready: Callable[[], str],
        *,
        tls: ServerTls | None = None,
        tokens: TokenAuthenticator | None = None,
        api_client: AbstractAsyncContextManager[object] | None = None,
    ) -> None:
        self.tls = tls
        self.api_client = api_client or nullcontext()
        self._mode = mode
        self._why_not_ready = why_not_ready
        self._tokens = tokens

    @property
    def verifies(self) -> bool:
        """Whether a permit proves which node the agent is on."""
        return self._mode != "none"

    async def authenticate(self, hello: Hello, peer: PeerInfo) -> Permit | Refusal:
        """A permit for the node that ``hello`` names, with its end, or a refusal."""
        why = self._why_not_ready()
        if why:
            # No flow could be resolved yet; until then the kernel of the node keeps the counts.
            return Refusal(Reason.BUSY, why)
        permits = [Permit()]
        if self.tls is not None and self.tls.requires_client_certificates:
            if hello.node not in (peer.names or ()):
                text = f"the client certificate has no DNS name {hello.node} in its subjectAltName"
                return Refusal(Reason.NODE, text)
            permits.append(Permit(peer.seconds))
        if self._tokens is not None:
            answer = await self._tokens.check(hello.token, hello.node, peer.address)
            if isinstance(answer, Refusal):
                return answer
            permits.append(answer)
        return min(permits, key=lambda permit: permit.seconds)

    def state(self) -> SecurityState:
        """A copy for metrics."""
        return SecurityState(
            mode=self._mode,
            reviews=dict(self._tokens.counts) if self._tokens else {},
            tls_loaded=self.tls.loaded if self.tls else 0,
            tls_failed=self.tls.failed if self.tls else 0,
        )
