"""Finds the server that a command asks: by its URL, else through a kubeconfig, else here.

In: the options of a command. Out: a client for each server. Raises: UsageError for options that
cannot be used together or at all. Makes no request.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kzn.client.http import ApiClient
from kzn.client.service_proxy import ServicePlace, ServiceProxy, is_configured
from kzn.errors import UsageError

LOCAL = "http://127.0.0.1:8080"
"""Where a server listens when neither a URL nor a cluster is configured."""
_LOCAL_HINT = (
    "there is neither --url nor a kubeconfig, so a server on this machine was asked; give --url, or"
    " --kubeconfig (KUBECONFIG) to find the server of a cluster"
)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """``urls`` empty: find one. ``token_file`` and ``ca`` are for URLs alone."""

    urls: Sequence[str] = ()
    token_file: Path | None = None
    ca: Path | None = None
    place: ServicePlace = field(default_factory=ServicePlace)

    def clients(self) -> list[ApiClient]:
        """One client for each URL, or one for the server that is found."""
        if not self.urls and is_configured(self.place):
            if self.token_file is not None or self.ca is not None:
                raise UsageError(
                    "--token-file and --tls-ca need --url: the API server has its own",
                    hint="give --url, or leave them out",
                )
            proxy = ServiceProxy(self.place)
            return [ApiClient(proxy.url, proxy=proxy)]
        if not self.urls:
            return [ApiClient(LOCAL, token_file=self.token_file, ca=self.ca, hint=_LOCAL_HINT)]
        return [ApiClient(url, token_file=self.token_file, ca=self.ca) for url in self.urls]

    def client(self) -> ApiClient:
        """The client of one server."""
        return self.clients()[0]
