"""Makes the security of a server from its options: who may report, and who may read.

In: the configuration and the topology. Out: an `Authenticator` for agents, `HttpSecurity` for HTTP.
Raises: UsageError if files or the kubeconfig cannot be used.
"""

import logging
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from kzn.daemon.http.server import Authorize
from kzn.daemon.tls import ServerTls
from kzn.server.auth.authenticator import Authenticator, SecurityState
from kzn.server.auth.http_access import HttpAccess
from kzn.server.auth.tokens import TokenAuthenticator
from kzn.server.config import AUDIENCE, ServerConfig
from kzn.server.topology import Topology

if TYPE_CHECKING:
    from kzn.topology.kube.client import KubeClient

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HttpSecurity:
    """TLS and access control of the port for HTTP; None: off.

    ``api_client``: the connection to the API server, entered by the caller while it serves.
    """

    tls: ServerTls | None = None
    access: HttpAccess | None = None
    api_client: AbstractAsyncContextManager[object] = field(default_factory=nullcontext)

    @property
    def authorize(self) -> Authorize | None:
        """What decides about each request; None: all are answered."""
        return self.access.authorize if self.access is not None else None

    def added_to(self, state: SecurityState) -> SecurityState:
        """The security of agents with that of HTTP, for metrics."""
        return replace(
            state,
            tls_loaded=state.tls_loaded + (self.tls.loaded if self.tls else 0),
            tls_failed=state.tls_failed + (self.tls.failed if self.tls else 0),
            http_mode="kubernetes" if self.access else "none",
            http_decisions=dict(self.access.counts) if self.access else {},
        )


def open_authenticator(config: ServerConfig, topology: Topology) -> Authenticator:
    """The authenticator of agents."""
    tls = ServerTls(config.tls) if config.tls is not None else None
    _warn(config)
    if config.auth != "token":
        return Authenticator(config.auth, topology.why_not_ready, tls=tls)
    # Imported here: a server without tokens and Kubernetes topology runs without these packages.
    from kzn.topology.kube.token_review import review_token  # noqa: PLC0415

    client = _client(config)
    tokens = TokenAuthenticator(
        partial(review_token, client, AUDIENCE),
        audience=AUDIENCE,
        accounts=frozenset(config.agent_accounts),
        node_of_pod=topology.node_of_pod,
        clock=time.monotonic,
        wall=time.time,
        max_refused=config.max_refused_tokens,
    )
    return Authenticator("token", topology.why_not_ready, tls=tls, tokens=tokens, api_client=client)


def open_http_security(config: ServerConfig) -> HttpSecurity:
    """TLS and access control of HTTP."""
    tls = ServerTls(config.http_tls) if config.http_tls is not None else None
    if config.http_auth == "none":
        return HttpSecurity(tls)
    if tls is None:
        _LOG.warning(
            "HTTP clients send tokens without TLS, where they can be intercepted;"
            " set --http-tls-cert"
        )
    from kzn.topology.kube.access_review import review_access  # noqa: PLC0415 - as above
    from kzn.topology.kube.token_review import review_token  # noqa: PLC0415

    client = _client(config)
    access = HttpAccess(
        partial(review_token, client, ""),
        partial(review_access, client),
        clock=time.monotonic,
        max_refused=config.max_refused_tokens,
    )
    return HttpSecurity(tls, access, client)


def _client(config: ServerConfig) -> "KubeClient":
    from kzn.topology.kube.client import KubeClient  # noqa: PLC0415 - as above
    from kzn.topology.kube.credentials import load_cluster  # noqa: PLC0415

    return KubeClient(load_cluster(config.kubeconfig, config.context), idle=1.0)


def _warn(config: ServerConfig) -> None:
    if config.auth == "none":
        _LOG.warning(
            "agents are not authenticated: any host that reaches %s can report traffic of any"
            " node; set --auth",
            config.listen_agents,
        )
    elif config.tls is None:
        _LOG.warning(
            "agents send tokens without TLS, where they can be intercepted; set --tls-cert"
        )
