"""Forward a port of this machine's loopback to a port inside the lab."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from kzn.lab.namespaces import inside

CONNECT_SECONDS = 5.0


@contextmanager
def relay(namespace: str, port: int, listen: int) -> Iterator[str]:
    """Listen on 127.0.0.1:``listen``, or a free port if it is in use; yields the URL."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with inside(namespace):
                upstream = socket.create_connection(("127.0.0.1", port), CONNECT_SECONDS)
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
