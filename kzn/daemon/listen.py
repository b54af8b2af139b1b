"""HOST:PORT as text, and listening sockets."""

import errno
import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass

from kzn.errors import KznError, UsageError

MAX_PORT = 65535
BACKLOG = 512


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host (empty: all addresses of this machine) and a TCP port (0: any free port)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_host_port(text: str) -> HostPort:
    """Parse HOST:PORT, :PORT or [IPv6]:PORT; UsageError for other text."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > MAX_PORT:
        raise UsageError(
            f"{text!r} is not an address with a port",
            hint="write HOST:PORT, :PORT for all addresses, or [IPv6]:PORT",
        )
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise UsageError(
            f"{text!r} is ambiguous: an IPv6 address needs brackets", hint="write [IPv6]:PORT"
        )
    return HostPort(host, int(port))


def listen(address: HostPort) -> list[socket.socket]:
    """At least one listening socket for ``address``; KznError if the kernel refuses.

    Without a host, one socket takes IPv4 and IPv6, or only IPv4 if the machine has no IPv6. A name
    is bound at each of its addresses, but only at the first if the port is 0.
    Resolving a name blocks, so this is called before the event loop runs.
    """
    if not address.host:
        return [_listen_everywhere(address)]
    found = _resolve(address)
    with ExitStack() as undo:
        sockets = []
        for family, where in found if address.port else found[:1]:
            sock = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
            _bind(sock, where, address)
            sockets.append(sock)
        undo.pop_all()
    return sockets


def bound_port(sockets: list[socket.socket]) -> int:
    """The port of the first socket."""
    port: int = sockets[0].getsockname()[1]
    return port


def _listen_everywhere(address: HostPort) -> socket.socket:
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    except OSError:
        return _listen_on_ipv4(address)
    try:
        _bind(sock, ("::", address.port), address, dual_stack=True)
    except KznError as error:
        sock.close()
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.EADDRNOTAVAIL:
            return _listen_on_ipv4(address)  # IPv6 is compiled in and disabled
        raise
    return sock


def _listen_on_ipv4(address: HostPort) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        _bind(sock, ("0.0.0.0", address.port), address)  # noqa: S104 - no host means all addresses
    except KznError:
        sock.close()
        raise
    return sock


def _bind(
    sock: socket.socket, where: tuple[str, int], address: HostPort, *, dual_stack: bool = False
) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual_stack else 1)
        sock.bind(where)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        raise _cannot(address, error) from error


def _cannot(address: HostPort, error: OSError) -> KznError:
    hints = {
        errno.EADDRINUSE: "another process listens on that port: stop it, or choose another port",
        errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE",
        errno.EADDRNOTAVAIL: "this machine does not have that address",
    }
    number = error.errno or 0
    name = errno.errorcode.get(number, str(number))
    return KznError(
        f"listen on {address}: {name} ({os.strerror(number)})", hint=hints.get(number, "")
    )


def _resolve(address: HostPort) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise KznError(
            f"listen on {address}: the name does not resolve ({error})",
            hint="write an address of this machine, or :PORT for all",
        ) from error
    # The last two members (flow info, scope) are kept: link-local IPv6 addresses need them.
    distinct = dict.fromkeys((family, where) for family, _, _, _, where in found)
    return list(distinct)  # type: ignore[arg-type]
