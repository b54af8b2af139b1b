"""Which Host headers a daemon answers: the protection against DNS rebinding.

A web page can let its own name resolve to 127.0.0.1 or to a private address and then read what the
browser gets from there. The browser sends the page's name as Host, so names that kzn cannot have
are refused.

In: the header. Out: whether to answer. Pure.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address

ANY = "*"
_NAME = re.compile(r"[a-z0-9._-]+")
_SUFFIXES = (".localhost", ".svc", ".svc.cluster.local")


class AllowedHosts:
    """IP addresses, localhost, names without a dot, names of Services, and ``names``.

    A name may be ``*.example.org`` (all names below) or ``*`` (every Host). A request without the
    header is not a browser's and is allowed.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        given = [_normal(name) for name in names]
        self._any = ANY in given
        self._names = frozenset(given)
        self._suffixes = (*_SUFFIXES, *(name[1:] for name in given if name.startswith("*.")))

    def allows(self, header: str | None) -> bool:
        """Whether a request with this Host header is answered."""
        if header is None or self._any:
            return True
        host = host_of(header)
        if not host:
            return False
        # A name without a dot is resolved by the search list of the machine, not by public DNS.
        return (
            "." not in host
            or host in self._names
            or host.endswith(self._suffixes)
            or _is_address(host)
        )


def host_of(header: str) -> str:
    """The host of a Host header, without port and brackets; empty if it is malformed."""
    text = header.strip()
    if text.startswith("["):
        inside, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not _is_port(rest)) or not _is_address(inside):
            return ""
        return inside.lower()
    name, colon, port = text.partition(":")
    if colon and not _is_port(f":{port}"):
        return ""
    found = _normal(name)
    return found if _NAME.fullmatch(found) else ""


def _normal(name: str) -> str:
    return name.strip().lower().rstrip(".")


def _is_port(text: str) -> bool:
    number = text[1:]
    return text[:1] == ":" and number.isascii() and (number.isdigit() or not number)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
