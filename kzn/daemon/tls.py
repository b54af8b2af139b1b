"""TLS for both sides: contexts made of PEM files, and made anew when the files change.

In: the names of files.
Out: an `ssl.SSLContext` for the next connection.
Never: TLS below 1.2, a peer unverified where an authority is given, or asks for a passphrase.
"""

import logging
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from kzn.daemon.logs import RateLimited
from kzn.errors import UsageError

_LOG = logging.getLogger(__name__)
_Signature = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How to check a server, and what to show it; ``server_name`` in place of the host dialled."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""

    def context(self) -> ssl.SSLContext:
        """A context of what the files hold now; UsageError when they cannot be used."""
        context = _context(ssl.Purpose.SERVER_AUTH)
        _load_authority(context, self.ca)
        if self.cert is not None:
            _load_chain(context, self.cert, self.key)
        return context


@dataclass(frozen=True, slots=True)
class ServerTlsFiles:
    """A server's certificate and key; with ``client_ca`` clients must show a certificate, too."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """A context of what the files hold now; UsageError when they cannot be used."""
        context = _context(ssl.Purpose.CLIENT_AUTH)
        # A resumed session would not be checked against the authority and certificate of now.
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0
        _load_chain(context, self.cert, self.key)
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            _load_authority(context, self.client_ca)
        return context

    def signature(self) -> _Signature:
        """Changes when a file does; OSError when one is not there."""
        paths = [path for path in (self.cert, self.key, self.client_ca) if path is not None]
        found = [path.stat() for path in paths]
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)


class ServerTls:
    """The context for the next connection; looks at the files each time it is asked.

    Files that cannot be used change nothing: the last good ones serve on. A Secret that Kubernetes
    replaces and a certificate that is written before its key both come right that way.
    ``loaded`` and ``failed`` count readings of the files.
    """

    def __init__(self, files: ServerTlsFiles) -> None:
        self.files = files
        self.loaded = 1
        self.failed = 0
        self._signature = self._sign()
        self._context = files.context()
        self._warnings = RateLimited(_LOG)

    @property
    def requires_client_certificates(self) -> bool:
        """Whether clients are let in by certificate only."""
        return self.files.client_ca is not None

    def context(self) -> ssl.SSLContext:
        """The context to use now. Some file status calls, and seldom the reading of files."""
        signature = self._sign()
        if signature != self._signature:
            self._signature = signature
            self._reload()
        return self._context

    def _sign(self) -> _Signature:
        try:
            return self.files.signature()
        except OSError:
            return ()

    def _reload(self) -> None:
        try:
            self._context = self.files.context()
        except UsageError as error:
            self.failed += 1
            self._warnings.warn(
                "reload", "the TLS files have changed and the last good ones serve on: %s", error
            )
            return
        self.loaded += 1
        self._warnings.resolved("reload")
        _LOG.info("TLS files have changed: new connections use %s", self.files.cert)


def _context(purpose: ssl.Purpose) -> ssl.SSLContext:
    side = ssl.PROTOCOL_TLS_CLIENT if purpose is ssl.Purpose.SERVER_AUTH else None
    context = ssl.SSLContext(side if side is not None else ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load_authority(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(cafile=os.fspath(path))
    except (OSError, ValueError) as error:
        raise _unusable(path, error, "a PEM file with the certificates of authorities") from error


def _load_chain(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    try:
        # An empty passphrase in place of a prompt on the terminal of a daemon.
        context.load_cert_chain(os.fspath(cert), os.fspath(key) if key else None, password="")
    except (OSError, ValueError) as error:
        what = "a PEM certificate and its own unencrypted key"
        raise _unusable(f"{cert} with {key or 'the key inside'}", error, what) from error


def _unusable(path: object, error: Exception, wanted: str) -> UsageError:
    if isinstance(error, ssl.SSLError):
        said = error.reason or "not PEM"
    else:
        said = getattr(error, "strerror", None) or str(error)
    return UsageError(f"TLS: {path} cannot be used: {said}", hint=f"give {wanted}")
