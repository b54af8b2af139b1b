"""Address and credentials of the API server, from a kubeconfig or the pod's ServiceAccount.

In: the configuration that the `kubernetes` package loads (context, certificates, tokens, exec
plugins). Out: an `Access` for each request. Never: a request.

This is the only module that imports `kubernetes`, and only when called: the import takes 190 ms.
"""

import os
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kzn.errors import KznError, UsageError

TOKEN_KEYS = ("BearerToken", "authorization")
"""Keys of the Authorization header in the client package: since version 36, and before."""


@dataclass(frozen=True, slots=True, eq=False)
class Access:
    """Address and credentials for one request; ``tls`` is None for plain HTTP."""

    host: str
    authorization: str = ""
    tls: ssl.SSLContext | None = None
    tls_server_name: str = ""
    proxy: str = ""


class Credentials(Protocol):
    """Source of `Access`; both calls may block (an exec plugin is run)."""

    def access(self) -> Access:
        """The access to use now, with expired tokens renewed; KznError when that fails."""
        ...

    def reload(self) -> None:
        """The API server rejected the last access: load everything again at the next call."""
        ...


class Cluster:
    """Credentials of one kubeconfig context or ServiceAccount, renewed when they expire.

    ``load`` returns a configuration of the `kubernetes` package, or raises; after `reload` it is
    called again and so sees replaced files. ``name`` says in errors what it reads.
    """

    def __init__(self, load: Callable[[], Any], name: str) -> None:
        self._load = load
        self._name = name
        self._lock = threading.Lock()
        self._configuration: Any = None
        self._tls: ssl.SSLContext | None = None

    def access(self) -> Access:
        """The access to use now."""
        with self._lock:
            try:
                return self._access()
            except (KznError, ModuleNotFoundError):
                raise
            except Exception as error:  # exec plugins and the package raise any type
                raise _unusable(self._name, error) from error

    def reload(self) -> None:
        """Load configuration and certificates again at the next call."""
        with self._lock:
            self._configuration = None

    def _access(self) -> Access:
        if self._configuration is None:
            configuration = self._load()
            self._tls = _tls(configuration)
            self._configuration = configuration
        configuration = self._configuration
        keys = (configuration.get_api_key_with_prefix(key) for key in TOKEN_KEYS)
        return Access(
            host=configuration.host.rstrip("/"),
            authorization=next((key for key in keys if key), ""),
            tls=self._tls,
            tls_server_name=configuration.tls_server_name or "",
            proxy=configuration.proxy or "",
        )


def load_cluster(kubeconfig: str = "", context: str = "") -> Cluster:
    """The cluster that kubectl would use: KUBECONFIG, ~/.kube/config, else the pod's own.

    UsageError when none is configured or the configuration is invalid. Makes no request.
    """
    named = kubeconfig or os.environ.get("KUBECONFIG", "")
    default = Path("~/.kube/config").expanduser()
    if named or context or default.exists():
        path = named or str(default)
        cluster = Cluster(lambda: _from_kubeconfig(path, context), f"kubeconfig {path}")
    elif "KUBERNETES_SERVICE_HOST" in os.environ:
        cluster = Cluster(_from_pod, "the ServiceAccount of this pod")
    else:
        raise UsageError(
            "no Kubernetes cluster is configured: no KUBECONFIG, no ~/.kube/config, not in a pod",
            hint="set KUBECONFIG, or give --topology FILE to run without a cluster",
        )
    cluster.access()  # so that an invalid configuration fails here and not in the first list
    return cluster


def _from_kubeconfig(path: str, context: str) -> Any:
    from kubernetes import client, config  # noqa: PLC0415 - 190 ms, and only with a cluster

    if not any(Path(part).expanduser().exists() for part in path.split(os.pathsep)):
        raise FileNotFoundError("no such file")  # the package's own error names no file
    configuration = client.Configuration()
    load: Any = config.load_kube_config  # the package is not typed
    load(path, context or None, configuration, persist_config=False)
    return configuration


def _from_pod() -> Any:
    from kubernetes import client, config  # noqa: PLC0415 - 190 ms, and only with a cluster

    configuration = client.Configuration()
    load: Any = config.load_incluster_config
    load(configuration)
    return configuration


def _tls(configuration: Any) -> ssl.SSLContext | None:
    if not configuration.host.startswith("https:"):
        return None
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
    # CAs made by older kubeadm lack the key identifiers that OpenSSL's strict mode (Python's
    # default from 3.13) requires; kubectl accepts them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file or None)
    return context


def _unusable(name: str, error: Exception) -> UsageError:
    return UsageError(
        f"{name} cannot be used: {error}",
        hint="check that `kubectl get nodes` works with the same KUBECONFIG and context",
    )
