"""Who may speak, as configured: nobody's identity checked, tokens, or client certificates.

In: what an agent says of itself, and what its connection tells.
Out: a permit or a refusal.
Never: an agent that speaks for a node other than its own, unless authentication is off.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from kzn.daemon.tls import ServerTls
from kzn.server.auth.permit import PeerInfo, Permit
from kzn.server.auth.tokens import TokenAuthenticator
from kzn.server.config import AUDIENCE, AuthMode, ServerConfig
from kzn.server.topology import Topology
from kzn.wire.messages import Hello, Reason, Refusal

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SecurityState:
    """Mode of authentication, token reviews by result, readings of the TLS files."""

    mode: str = "none"
    reviews: Mapping[str, int] = field(default_factory=dict)
    tls_loaded: int = 0
    tls_failed: int = 0


class Authenticator:
    """Decides by certificate (with a client CA), by token (with a gate), and by readiness.

    ``connection`` must be entered while agents are admitted: it is the way to the API server.
    """

    def __init__(
        self,
        mode: AuthMode,
        why_not_ready: Callable[[], str],
        *,
        tls: ServerTls | None = None,
        tokens: TokenAuthenticator | None = None,
        connection: AbstractAsyncContextManager[object] | None = None,
    ) -> None:
        self.tls = tls
        self.connection = connection or nullcontext()
        self._mode = mode
        self._why_not_ready = why_not_ready
        self._tokens = tokens

    async def authenticate(self, hello: Hello, peer: PeerInfo) -> Permit | Refusal:
        """Whether this agent may speak for the node it names, and for how long."""
        why = self._why_not_ready()
        if why:
            # The kernel keeps what an agent cannot ship, and nothing could be resolved yet.
            return Refusal(Reason.BUSY, why)
        permits = [Permit()]
        if self.tls is not None and self.tls.requires_client_certificates:
            if hello.node not in (peer.names or ()):
                text = f"the certificate has no DNS name {hello.node} among its subjectAltNames"
                return Refusal(Reason.NODE, text)
            permits.append(Permit(peer.seconds))
        if self._tokens is not None:
            answer = await self._tokens.check(hello.token, hello.node, peer.address)
            if isinstance(answer, Refusal):
                return answer
            permits.append(answer)
        return min(permits, key=lambda permit: permit.seconds)

    def state(self) -> SecurityState:
        """For metrics."""
        return SecurityState(
            mode=self._mode,
            reviews=dict(self._tokens.counts) if self._tokens else {},
            tls_loaded=self.tls.loaded if self.tls else 0,
            tls_failed=self.tls.failed if self.tls else 0,
        )


def open_authenticator(config: ServerConfig, topology: Topology) -> Authenticator:
    """The admission of ``config``; UsageError when files or the kubeconfig are wrong."""
    tls = ServerTls(config.tls) if config.tls is not None else None
    _warn(config)
    if config.auth != "token":
        return Authenticator(config.auth, topology.why_not_ready, tls=tls)
    # Imported here: without tokens a server with a file alone needs no package for Kubernetes.
    from kzn.topology.kube.client import KubeClient  # noqa: PLC0415
    from kzn.topology.kube.credentials import load_cluster  # noqa: PLC0415
    from kzn.topology.kube.token_review import review_token  # noqa: PLC0415

    client = KubeClient(load_cluster(config.kubeconfig, config.context), idle=1.0)
    tokens = TokenAuthenticator(
        partial(review_token, client, AUDIENCE),
        audience=AUDIENCE,
        accounts=frozenset(config.agent_accounts),
        node_of_pod=topology.node_of_pod,
        clock=time.monotonic,
        wall=time.time,
    )
    return Authenticator("token", topology.why_not_ready, tls=tls, tokens=tokens, connection=client)


def _warn(config: ServerConfig) -> None:
    if config.auth == "none":
        _LOG.warning(
            "agents are not authenticated: whoever reaches %s can report any traffic of any node;"
            " see --auth",
            config.listen_agents,
        )
    elif config.tls is None:
        _LOG.warning("tokens travel in clear text: whoever can listen can use them; see --tls-cert")
