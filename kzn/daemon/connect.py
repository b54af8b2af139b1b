"""TCP connections to a server: by name, with keepalive so that a dead peer is noticed."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from kzn.daemon.listen import HostPort
from kzn.daemon.tls import ClientTls

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[], Awaitable[Streams]]
"""Makes one connection; OSError, UnicodeError or UsageError (files) on failure. The caller sets
the timeout."""

_HAPPY_EYEBALLS = 0.25
"""Seconds until the next address of a name is tried in parallel to a slow one (RFC 8305)."""

_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
)
"""A peer that disappears without FIN or RST is noticed within 30 s, idle or not."""


def dial_tcp(address: HostPort, tls: ClientTls | None = None) -> Dial:
    """Dial ``address``; each call resolves it again, since the address of a name may change.

    Each call also reads the files of ``tls`` again, since certificates are renewed.
    """

    async def dial() -> Streams:
        reader, writer = await asyncio.open_connection(
            address.host,
            address.port,
            happy_eyeballs_delay=_HAPPY_EYEBALLS,
            ssl=tls.context() if tls else None,
            server_hostname=(tls.server_name or address.host) if tls else None,
        )
        enable_keepalive(writer)
        return reader, writer

    return dial


def enable_keepalive(writer: asyncio.StreamWriter | asyncio.BaseTransport) -> None:
    """Let the kernel probe an idle peer; does nothing for sockets other than TCP."""
    sock = writer.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    for level, option, value in _KEEPALIVE:
        sock.setsockopt(level, option, value)
