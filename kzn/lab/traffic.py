"""Send real packets between pods of the lab by sockets, and compute their L3 counts.

In: two pods and an amount. Out: `Sent`, what the kernel accepted, for each direction.
Never: more in flight than a queue holds, so that no packet is lost and counts can be compared to
the byte. No process is started: a socket made inside a pod's namespace stays there.
"""

import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

from kzn.errors import KznError
from kzn.lab.namespaces import inside
from kzn.lab.plan import Pod
from kzn.model.totals import Counts

Family = Literal[4, 6]

TIMEOUT = 10.0
RECEIVE_BUFFER = 128 * 1024
WINDOW = 16  # packets of one sender; with their fragments far below netdev_max_backlog (1000)
WRITE = b"k" * 65536
SO_RCVBUFFORCE = 33  # include/uapi/asm-generic/socket.h: may pass net.core.rmem_max
IP_BIND_ADDRESS_NO_PORT = 24  # include/uapi/linux/in.h: the port is chosen by connect
IPV6_MTU = 24  # include/uapi/linux/in6.h: the size of fragments
TCP_CLOSE = 7  # enum in include/net/tcp_states.h, the first byte of TCP_INFO
AF = {4: socket.AF_INET, 6: socket.AF_INET6}
IP_HEADER = {4: 20, 6: 40}
FRAGMENT_HEADER = {4: 0, 6: 8}
ICMP = {4: (socket.IPPROTO_ICMP, 8), 6: (socket.IPPROTO_ICMPV6, 128)}


@dataclass(frozen=True, slots=True)
class Sent:
    """One direction of one exchange: ``payload`` bytes that sockets accepted.

    ``wire`` is their packets and L3 bytes, None if only the kernel can count them (TCP).
    """

    src: str
    dst: str
    protocol: int
    payload: int
    wire: Counts | None


def addresses(src: Pod, dst: Pod, family: Family) -> tuple[str, str]:
    """The addresses of both pods, of one IP version."""
    return (src.ipv4, dst.ipv4) if family == 4 else (src.ipv6, dst.ipv6)


def wire_counts(transport: int, mtu: int, family: Family, times: int = 1) -> Counts:
    """Packets and L3 bytes of ``times`` sends of ``transport`` bytes above IP, fragments included.

    All fragments except the last have a multiple of 8 bytes (RFC 791, RFC 8200 4.5).
    """
    header = IP_HEADER[family]
    if transport + header <= mtu:
        return Counts(times, times * (transport + header))
    header += FRAGMENT_HEADER[family]
    fragments = 1 + -(-(transport - (mtu - header)) // ((mtu - header) // 8 * 8))
    return Counts(times * fragments, times * (transport + fragments * header))


def udp(
    src: Pod, dst: Pod, family: Family, *, datagrams: int, size: int, mtu: int, port: int = 5300
) -> list[Sent]:
    """Send datagrams in one direction and receive all of them."""
    here, there = addresses(src, dst, family)
    with ExitStack() as stack:
        receiver = stack.enter_context(_socket(dst, family, socket.SOCK_DGRAM))
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, WINDOW * 256 * 1024)
        receiver.bind((there, port))
        sender = stack.enter_context(_socket(src, family, socket.SOCK_DGRAM))
        sender.connect((there, port))
        if family == 6:  # only the sender fragments; an unknown smaller path MTU is an error
            sender.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU, mtu)
        _windowed(datagrams, lambda _: sender.send(bytes(size)), lambda: receiver.recv(65535))
    wire = wire_counts(size + 8, mtu, family, datagrams)
    return [Sent(here, there, socket.IPPROTO_UDP, datagrams * size, wire)]


def echo(src: Pod, dst: Pod, family: Family, *, requests: int, size: int, mtu: int) -> list[Sent]:
    """Send ICMP echo requests and receive the replies (the other direction)."""
    here, there = addresses(src, dst, family)
    protocol, kind = ICMP[family]

    def request(number: int) -> None:
        # The kernel writes identifier and checksum of a ping socket.
        pinger.send(struct.pack("!BBHHH", kind, 0, 0, 0, number & 0xFFFF) + bytes(size))

    with _socket(src, family, socket.SOCK_DGRAM, protocol) as pinger:
        pinger.connect((there, 0))
        _windowed(requests, request, lambda: pinger.recv(65535))
    wire = wire_counts(size + 8, mtu, family, requests)
    return [
        Sent(here, there, protocol, requests * size, wire),
        Sent(there, here, protocol, requests * size, wire),
    ]


def udp_calls(
    src: Pod, dst: Pod, family: Family, *, calls: int, ask: int, answer: int, mtu: int, port: int
) -> list[Sent]:
    """Send requests one by one, and answers to the port of the sender, as a name server does."""
    here, there = addresses(src, dst, family)
    with ExitStack() as stack:
        server = stack.enter_context(_socket(dst, family, socket.SOCK_DGRAM))
        server.bind((there, port))
        client = stack.enter_context(_socket(src, family, socket.SOCK_DGRAM))
        client.connect((there, port))
        if family == 6:
            server.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU, mtu)
        for _ in range(calls):
            client.send(bytes(ask))
            server.sendto(bytes(answer), server.recvfrom(65535)[1])
            client.recv(65535)
    asked, answered = (wire_counts(size + 8, mtu, family, calls) for size in (ask, answer))
    return [
        Sent(here, there, socket.IPPROTO_UDP, calls * ask, asked),
        Sent(there, here, socket.IPPROTO_UDP, calls * answer, answered),
    ]


def tcp_bulk(src: Pod, dst: Pod, family: Family, *, size: int, port: int = 5400) -> list[Sent]:
    """Send ``size`` bytes in one direction, in writes of 64 KiB, so that the kernel uses GSO."""
    with _connection(src, dst, family, port) as (client, server):
        client.setblocking(False)
        server.setblocking(False)
        to_send = to_receive = size
        while to_receive:
            readable, writable, _ = select.select(
                [server], [client] if to_send else [], [], TIMEOUT
            )
            if not readable and not writable:
                raise KznError(f"tcp to {dst.name}: {to_receive} bytes did not arrive")
            if writable:
                to_send -= client.send(WRITE[:to_send])
            if readable:
                to_receive -= len(server.recv(1 << 20))
    return _both_ways(src, dst, family, size, 0)


def tcp_calls(
    src: Pod, dst: Pod, family: Family, *, calls: int, ask: int, answer: int, port: int = 5500
) -> list[Sent]:
    """Send ``calls`` requests and answers on one connection."""
    with _connection(src, dst, family, port) as (client, server):
        for _ in range(calls):
            client.sendall(bytes(ask))
            _receive(server, ask)
            server.sendall(bytes(answer))
            _receive(client, answer)
    return _both_ways(src, dst, family, calls * ask, calls * answer)


def _both_ways(src: Pod, dst: Pod, family: Family, there: int, back: int) -> list[Sent]:
    ours, theirs = addresses(src, dst, family)
    return [
        Sent(ours, theirs, socket.IPPROTO_TCP, there, None),
        Sent(theirs, ours, socket.IPPROTO_TCP, back, None),
    ]


def _socket(pod: Pod, family: Family, kind: int, protocol: int = 0) -> socket.socket:
    with inside(pod.namespace):
        made = socket.socket(AF[family], kind, protocol)
    made.settimeout(TIMEOUT)
    return made


def _windowed(times: int, send: Callable[[int], object], receive: Callable[[], object]) -> None:
    for start in range(0, times, WINDOW):
        numbers = range(start, min(start + WINDOW, times))
        try:
            for number in numbers:
                send(number)
            for _ in numbers:
                receive()
        except OSError as error:
            raise KznError(f"traffic: {error} after {start} of {times} packets") from error


@contextmanager
def _connection(
    src: Pod, dst: Pod, family: Family, port: int
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection; on exit both ends have closed and the last ACK has arrived."""
    here, there = addresses(src, dst, family)
    with ExitStack() as stack:
        listener = stack.enter_context(_socket(dst, family, socket.SOCK_STREAM))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        listener.bind((there, port))
        listener.listen()
        client = stack.enter_context(_socket(src, family, socket.SOCK_STREAM))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        # It may be the second address of its namespace.
        client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        client.bind((here, 0))
        client.connect((there, port))
        server = stack.enter_context(listener.accept()[0])
        server.settimeout(TIMEOUT)
        yield client, server
        _finish(client, server)


def _finish(client: socket.socket, server: socket.socket) -> None:
    for speaker, listener in ((client, server), (server, client)):
        speaker.shutdown(socket.SHUT_WR)
        listener.settimeout(TIMEOUT)
        if listener.recv(1):
            raise KznError("traffic: bytes arrived after the end of the stream")
    deadline = time.monotonic() + TIMEOUT
    while server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_CLOSE:
        if time.monotonic() > deadline:
            raise KznError("traffic: the last ACK of a connection did not arrive")
        select.select([], [], [], 0.0005)


def _receive(source: socket.socket, size: int) -> None:
    while size:
        got = len(source.recv(size))
        if not got:
            raise KznError("traffic: a connection ended early")
        size -= got
