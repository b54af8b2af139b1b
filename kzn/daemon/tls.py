"""TLS contexts of both sides, made from PEM files and reloaded when the files change.

In: the names of files. Out: an `ssl.SSLContext` for the next connection.
Never: TLS below 1.2, an unverified peer if a CA is configured, a prompt for a passphrase.
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
    """CA of the server, client certificate, and the server's name if it is not the host dialled."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""

    def context(self) -> ssl.SSLContext:
        """A context of the present files; UsageError if they cannot be used."""
        context = _context(ssl.Purpose.SERVER_AUTH)
        _load_ca(context, self.ca)
        if self.cert is not None:
            _load_chain(context, self.cert, self.key)
        return context


@dataclass(frozen=True, slots=True)
class ServerTlsFiles:
    """A server's certificate and key; with ``client_ca`` clients need a certificate of that CA."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """A context of the present files; UsageError if they cannot be used."""
        context = _context(ssl.Purpose.CLIENT_AUTH)
        # A resumed session would not be verified against the present CA and certificate.
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0
        _load_chain(context, self.cert, self.key)
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            _load_ca(context, self.client_ca)
        return context

    def signature(self) -> _Signature:
        """Changes if a file does; OSError if one does not exist."""
        paths = [path for path in (self.cert, self.key, self.client_ca) if path is not None]
        found = [path.stat() for path in paths]
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)


class ServerTls:
    """The context for the next connection; each call checks whether the files have changed.

    If the new files cannot be used, the last good context stays in use. This covers a Secret that
    Kubernetes is replacing and a certificate that is written before its key.
    ``loaded`` and ``failed`` count reads of the files.
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
        """Whether clients must have a certificate."""
        return self.files.client_ca is not None

    def context(self) -> ssl.SSLContext:
        """The context to use now. Costs a stat of each file, and a read if one has changed."""
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
                "reload",
                "the new TLS files cannot be used, the previous ones stay in use: %s",
                error,
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


def _load_ca(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(cafile=os.fspath(path))
    except (OSError, ValueError) as error:
        raise _unusable(path, error, "a PEM file with CA certificates") from error


def _load_chain(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    try:
        # The empty passphrase prevents a prompt on the terminal.
        context.load_cert_chain(os.fspath(cert), os.fspath(key) if key else None, password="")
    except (OSError, ValueError) as error:
        what = "a PEM certificate and its own unencrypted key"
        raise _unusable(f"{cert} with {key or 'the key inside'}", error, what) from error


def _unusable(path: object, error: Exception, wanted: str) -> UsageError:
    if isinstance(error, ssl.SSLError):
        reason = error.reason or "not PEM"
    else:
        reason = getattr(error, "strerror", None) or str(error)
    return UsageError(f"TLS: {path} cannot be used: {reason}", hint=f"give {wanted}")
