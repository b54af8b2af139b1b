"""Who is at the other end, as far as its certificate says."""

import ssl
import time
from typing import Any

from kzn.server.receive.context import Caller


def caller_of(address: str, certificate: dict[str, Any]) -> Caller:
    """The caller behind what `ssl` says of a verified certificate, empty when there is none."""
    if not certificate:
        return Caller(address)
    names = (name for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS")
    until = ssl.cert_time_to_seconds(certificate["notAfter"])
    return Caller(address, frozenset(names), float(until) - time.time())
