"""Forward a port of this machine's loopback to a port inside the lab."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from kzn.lab.namespaces import inside

CONNECT_SECONDS = 5.0
START_SECONDS = 30.0
"""How long a connection waits for a server that does not listen yet."""
RETRY_SECONDS = 0.1


@contextmanager
def relay(namespace: str, port: int, listen: int) -> Iterator[str]:
    """Listen on 127.0.0.1:``listen``, or a free port if it is in use; yields the URL."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            upstream = _connect(namespace, port)
            if upstream is None:
                return
            with closing(upstream), suppress(OSError):
                upstream.settimeout(None)
                back = threading.Thread(target=_copy, args=(upstream, self.request), daemon=True)
                back.start()
                _copy(self.request, upstream)
                back.join()

    with _listen(Handler, listen) as server:
        threading.Thread(target=server.serve_forever, daemon=True, name="relay").start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def _connect(namespace: str, port: int) -> socket.socket | None:
    """A connection to the port; None if nothing listens there in time."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with inside(namespace):
                return socket.create_connection(("127.0.0.1", port), CONNECT_SECONDS)
        except OSError:
            if time.monotonic() > deadline:
                return None
        time.sleep(RETRY_SECONDS)


def _listen(
    handler: type[socketserver.BaseRequestHandler], port: int
) -> socketserver.ThreadingTCPServer:
    try:
        server = _Server(("127.0.0.1", port), handler)
    except OSError:
        server = _Server(("127.0.0.1", 0), handler)
    return server


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
