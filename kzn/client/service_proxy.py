"""A kzn server reached through the Kubernetes API server's service proxy, by a kubeconfig.

In: kubeconfig, context, namespace and Service. Out: the base URL of the server behind the API
server, and what each request needs: TLS, proxy and credentials.
Raises: errors that say which of kubeconfig, API server, rights and Service is wrong.
Never: another method than GET, or the API server's credentials sent elsewhere.
"""

import json
import os
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.request import BaseHandler, HTTPSHandler, ProxyHandler

from kzn.errors import KznError
from kzn.topology.kube.credentials import Access, Credentials, load_cluster

NAMESPACE = "kzn"
SERVICE = "kzn-server"
PORT = "http"
_CUT_OFF = -1


@dataclass(frozen=True, slots=True)
class ServicePlace:
    """Where the server's Service is; empty strings of kubeconfig and context: kubectl's own."""

    kubeconfig: str = ""
    context: str = ""
    namespace: str = NAMESPACE
    service: str = SERVICE
    """A name, or https:NAME for a server with TLS."""

    @property
    def name(self) -> str:
        """The name of the Service."""
        return self.service.rpartition(":")[2]


def is_configured(place: ServicePlace) -> bool:
    """Whether a kubeconfig is there or was asked for."""
    named = place.kubeconfig or place.context or os.environ.get("KUBECONFIG")
    return bool(named) or Path("~/.kube/config").expanduser().exists()


class ServiceProxy:
    """One server behind an API server."""

    def __init__(self, place: ServicePlace, credentials: Credentials | None = None) -> None:
        """UsageError for a kubeconfig that cannot be used; makes no request."""
        self._place = place
        self._credentials = credentials or load_cluster(place.kubeconfig, place.context)
        path = f"/api/v1/namespaces/{place.namespace}/services/{place.service}:{PORT}/proxy"
        self.url = self._credentials.access().host + path
        self.is_named = False

    def handlers(self) -> tuple[list[BaseHandler], dict[str, str]]:
        """Handlers of urllib and the headers for one request; KznError if credentials fail."""
        access = self._credentials.access()
        proxies = {"http": access.proxy, "https": access.proxy} if access.proxy else {}
        handlers: list[BaseHandler] = [_NamedHandler(access), ProxyHandler(proxies)]
        headers = {"Authorization": access.authorization} if access.authorization else {}
        if self.is_named:
            headers["Host"] = f"{self._place.name}.{self._place.namespace}.svc"
        return handlers, headers

    def name_server(self) -> bool:
        """Send the Service's name as Host from now on; False if that was done before.

        The API server passes on the Host of the request, which is its own name, and a kzn server
        refuses names that it does not know. Not at once: a gateway may route by it.
        """
        was_named, self.is_named = self.is_named, True
        return not was_named

    def renew(self) -> None:
        """The API server refused the credentials: load them again for the next request."""
        self._credentials.reload()

    def unreachable(self, reason: str) -> KznError:
        """The error for an API server that does not answer."""
        host = self.url.partition("/api/v1/")[0]
        return KznError(
            f"the API server {host} does not answer: {reason}",
            hint="check that kubectl get --raw /readyz works; --url is for a server without it",
        )

    def refusal(self, status: int, body: bytes) -> KznError | None:
        """What an error of the API server means; None if the answer is the kzn server's own."""
        place = self._place
        found = _status_of(body)
        if found is None:
            return None
        message = str(found.get("message", "")) or f"status {status}"
        is_cut_off = status in (502, 503) and "trying to reach service" in message
        said = {
            401: (
                "the API server refuses the credentials of the kubeconfig",
                "check that kubectl get --raw /version works; log in again",
            ),
            403: (
                "no right to reach the server",
                f"the right needed is get on services/proxy in namespace {place.namespace}",
            ),
            404: (
                f"namespace {place.namespace} has no Service {place.name}",
                "give --namespace and --service; kubectl get services -A | grep kzn-server",
            ),
            503: (
                f"the Service {place.name} has no server that is ready",
                f"kubectl -n {place.namespace} get pods shows why",
            ),
            _CUT_OFF: (
                "the API server cannot reach the server",
                "a NetworkPolicy may not admit the API server's addresses, or the server has TLS"
                f" (--service https:{place.name}); kubectl port-forward and --url work too",
            ),
        }
        sentence, hint = said.get(
            _CUT_OFF if is_cut_off else status, (f"the API server answers status {status}", "")
        )
        return KznError(f"{sentence}: {message}", hint=hint)


def _status_of(body: bytes) -> dict[str, Any] | None:
    """An object of kind Status, which is how the API server tells errors."""
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("kind") == "Status" else None


class _NamedHandler(HTTPSHandler):
    """HTTPS with the kubeconfig's certificates, and its name for the server's certificate."""

    def __init__(self, access: Access) -> None:
        super().__init__(context=access.tls)
        self._access = access

    def https_open(self, req: Any) -> Any:
        return self.do_open(self._connection, req)

    def _connection(self, host: str, **options: Any) -> HTTPConnection:
        return _NamedConnection(host, self._access, **options)


class _NamedConnection(HTTPSConnection):
    """A connection whose peer's certificate is checked for ``tls_server_name``, if that is set."""

    def __init__(self, host: str, access: Access, **options: Any) -> None:
        super().__init__(host, context=access.tls, **options)
        self._access = access

    def connect(self) -> None:
        if not self._access.tls_server_name or self._access.tls is None:
            super().connect()
            return
        HTTPConnection.connect(self)
        self.sock = self._access.tls.wrap_socket(
            self.sock, server_hostname=self._access.tls_server_name
        )
