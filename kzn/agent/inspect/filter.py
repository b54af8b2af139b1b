"""Parses the flow filters of `kzn inspect-map`. Pure.

    FILTER  one or more TERMs between commas; a flow must match one of them
    TERM    [!][src=|dst=|proto=]WORD
    WORD    an address (10.0.0.1), a network (10.0.0.0/8, fd00::/8), a port (443) or the name of
            a protocol (tcp); after proto= also a protocol's number

Without ``src=`` or ``dst=`` an address or port may match at either end; ``!`` means not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from kzn.agent.inspect.rows import FlowId
from kzn.agent.inspect.text import NUMBERS
from kzn.errors import UsageError

Test = Callable[[FlowId], bool]

HINT = (
    "terms between commas, each [!][src=|dst=|proto=] and an address, a network, a port or a "
    "protocol: 10.0.0.0/8, src=fd00::1, dst=443, !tcp, proto=47"
)


@dataclass(frozen=True, slots=True)
class FlowFilter:
    """A flow must match at least one term of each filter."""

    filters: tuple[tuple[Test, ...], ...] = ()

    def matches(self, flow: FlowId) -> bool:
        """Whether a flow is to be shown."""
        return all(any(test(flow) for test in terms) for terms in self.filters)


def parse_filters(texts: Sequence[str]) -> FlowFilter:
    """A filter from its texts; UsageError names the first invalid term."""
    return FlowFilter(tuple(tuple(map(_term, text.split(","))) for text in texts))


def _term(text: str) -> Test:
    word = text.strip()
    is_negated = word.startswith("!")
    where, equals, what = word.removeprefix("!").strip().rpartition("=")
    if equals and where not in ("src", "dst", "proto"):
        raise _invalid(text)
    test = _protocol(what) if where == "proto" else _end(where, what)
    if test is None:
        raise _invalid(text)
    return (lambda flow: not test(flow)) if is_negated else test


def _invalid(text: str) -> UsageError:
    return UsageError(f"filter: {text.strip()[:60]!r} is not a valid term", hint=HINT)


def _protocol(word: str) -> Test | None:
    name = word.lower()
    if name in NUMBERS:
        return lambda flow: flow.protocol == name
    if word.isascii() and word.isdigit() and int(word) < 256:
        number = int(word)
        return lambda flow: NUMBERS.get(flow.protocol, flow.protocol) in (number, str(number))
    return None


def _end(where: str, word: str) -> Test | None:
    if word.isascii() and word.isdigit():
        return _port(where, int(word))
    if not where and word.lower() in NUMBERS:
        return _protocol(word)
    try:
        network = ip_network(word, strict=False)
    except ValueError:
        return None
    return _address(where, network)


def _port(where: str, port: int) -> Test | None:
    if not 0 < port < 65536:
        return None
    return lambda flow: (
        (where != "dst" and flow.src_port == port) or (where != "src" and flow.dst_port == port)
    )


def _address(where: str, network: IPv4Network | IPv6Network) -> Test:
    @lru_cache(1 << 14)  # an address is tested once for each of its flows
    def is_inside(text: str) -> bool:
        return ip_address(text) in network

    return lambda flow: (
        (where != "dst" and is_inside(flow.src)) or (where != "src" and is_inside(flow.dst))
    )
