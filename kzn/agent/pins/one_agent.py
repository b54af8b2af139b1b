"""One agent for each network namespace, whichever pin directory each one uses.

In: nothing. Out: an abstract unix socket, whose name the kernel gives to one process at a time in a
network namespace, and takes back when that process ends (unix(7)).
Never: a byte read or written; the socket is not of use to anyone who connects.
"""

import errno
import logging
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kzn.errors import KznError

log = logging.getLogger(__name__)

NAME = "\0kzn-agent"
_BACKLOG = 128
_CREDENTIALS = struct.Struct("3i")
"""struct ucred: process, user and group."""


@contextmanager
def only_agent(name: str = NAME) -> Iterator[None]:
    """Be the only agent of this network namespace that ships; a second one would double its counts.

    KznError while another agent is. The name is not reserved for root: if a process of an ordinary
    user holds it, that is logged and does not stop an agent.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as held:
        try:
            held.bind(name)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise KznError(f"cannot bind {_text(name)}: {error.strerror}") from error
            _require_foreign(name)
        else:
            held.listen(_BACKLOG)
        yield


def _require_foreign(name: str) -> None:
    """KznError unless a process of an ordinary user holds the name."""
    pid, uid = _holder(name)
    if uid in (0, os.geteuid()):
        process = f" (process {pid})" if pid else ""
        raise KznError(
            f"another kzn agent{process} counts in this network namespace: two agents would count"
            " each packet twice",
            hint="stop it, or wait until it has ended; to look beside it use kzn agent --print",
        )
    log.warning(
        "process %d of user %d holds the socket name %s, by which agents find each other: a second"
        " agent on this node would not be noticed",
        pid,
        uid,
        _text(name),
    )


def _holder(name: str) -> tuple[int, int]:
    """Process (0: in another pid namespace) and user that hold a name; (0, 0) if not known."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking, suppress(OSError):
        asking.setblocking(False)
        asking.connect(name)
        raw = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        return pid, uid
    return 0, 0


def _text(name: str) -> str:
    return name.replace("\0", "@")
