"""Addresses as kzn carries them: 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2)."""

from ipaddress import IPv4Address, IPv6Address, ip_address

MAPPED_PREFIX = b"\x00" * 10 + b"\xff\xff"


def pack(address: str) -> bytes:
    """The 16 bytes of an address in text; ValueError when it is not one."""
    parsed = ip_address(address)
    if isinstance(parsed, IPv4Address):
        return MAPPED_PREFIX + parsed.packed
    return parsed.packed


def text(address: bytes) -> str:
    """The text of 16 bytes, IPv4 without its prefix."""
    if address[:12] == MAPPED_PREFIX:
        return str(IPv4Address(address[12:]))
    return str(IPv6Address(address))
