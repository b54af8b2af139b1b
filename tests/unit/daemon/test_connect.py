"""kzn/daemon/connect.py: a connection with keepalive, or an OSError."""

import asyncio
import socket

import pytest

from kzn.daemon.connect import dial_tcp
from kzn.daemon.listen import HostPort, bound_port, listen


def test_a_connection_has_keepalive() -> None:
    async def run() -> None:
        sockets = listen(HostPort("127.0.0.1", 0))
        server = await asyncio.start_server(lambda _r, w: w.close(), sock=sockets[0])
        _, writer = await dial_tcp(HostPort("127.0.0.1", bound_port(sockets)))()
        sock = writer.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        writer.close()
        server.close()

    asyncio.run(run())


def test_a_closed_port_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]

    async def run() -> None:
        await dial_tcp(HostPort("127.0.0.1", port))()

    with pytest.raises(OSError, match="Connect call failed"):
        asyncio.run(run())
