"""Accepts TCP connections and leaves a reserve of descriptors for the rest of the process.

In: listening sockets. Out: a pair of asyncio streams for each connection.
Never: one of the last ``reserve`` descriptors used; more than one log line a minute about a lack of
them. asyncio's own server logs each failed accept, hundreds of times a second.
"""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Iterable

from kzn.daemon import descriptors
from kzn.daemon.logs import RateLimited

_LOG = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5
"""How long a listener waits after the kernel had no descriptor or memory for a connection."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_MAPPED_PREFIX = "::ffff:"

Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


class Acceptor:
    """Calls ``connected`` with the streams of each new connection, until `close`.

    ``name`` is what the log calls the port. ``reserve`` is how many descriptors stay free: the
    kernel gives the lowest free number, so the number of a new socket says how many are in use.
    ``read_buffer`` is half of what the reader buffers. ``at_once`` connections are accepted before
    the event loop does other work; until one that is refused is closed, it takes some turns, and
    four times as many descriptors are in use. ``refused`` counts connections closed at
    once for lack of descriptors; ``on_refused`` is called for each.
    """

    def __init__(
        self,
        name: str,
        connected: Connected,
        *,
        reserve: int,
        read_buffer: int = 1 << 16,
        at_once: int = 32,
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        self.refused = 0
        self._name = name
        self._connected = connected
        self._reserve = reserve
        self._read_buffer = read_buffer
        self._at_once = at_once
        self._on_refused = on_refused
        self._sockets: list[socket.socket] = []
        self._starting: set[asyncio.Task[None]] = set()
        self._warnings = RateLimited(_LOG)

    def start(self, sockets: Iterable[socket.socket]) -> None:
        """Accept on ``sockets``, which this object closes; to be called on the event loop."""
        loop = asyncio.get_running_loop()
        for sock in sockets:
            sock.setblocking(False)
            self._sockets.append(sock)
            loop.add_reader(sock, self._ready, sock)

    def close(self) -> None:
        """Stop accepting; connections that were accepted stay open."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def _ready(self, sock: socket.socket) -> None:
        for _ in range(self._at_once):
            try:
                connection, _ = sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(sock, error)
                    return
                continue  # the peer reset it before it was accepted
            if connection.fileno() >= descriptors.limit() - self._reserve:
                connection.close()
                self._refuse("the descriptors left are reserved")
                continue
            task = asyncio.get_running_loop().create_task(self._connect(connection))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    def _pause(self, sock: socket.socket, error: OSError) -> None:
        self._refuse(os.strerror(error.errno or 0))
        loop = asyncio.get_running_loop()
        loop.remove_reader(sock)
        loop.call_later(PAUSE_SECONDS, self._resume, sock)

    def _resume(self, sock: socket.socket) -> None:
        if sock in self._sockets:
            asyncio.get_running_loop().add_reader(sock, self._ready, sock)

    def _refuse(self, why: str) -> None:
        self.refused += 1
        self._on_refused()
        self._warnings.warn(
            "descriptors",
            "connections to the port for %s are refused: %s; this process may have %d descriptors"
            " (RLIMIT_NOFILE)",
            self._name,
            why,
            descriptors.limit(),
        )

    async def _connect(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(self._read_buffer, loop)
        protocol = asyncio.StreamReaderProtocol(reader, self._connected, loop)
        try:
            await loop.connect_accepted_socket(lambda: protocol, connection)
        except OSError:
            connection.close()


def peer_address(writer: asyncio.StreamWriter) -> str:
    """The peer's address without port; dual-stack sockets show IPv4 as ::ffff:a.b.c.d."""
    name = writer.get_extra_info("peername")
    return str(name[0]).removeprefix(_MAPPED_PREFIX) if name else "unknown"
