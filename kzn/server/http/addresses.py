"""The JSON of /api/v1/addresses: who has these addresses now. Pure but for the index it asks."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from kzn.errors import UsageError
from kzn.model import ip
from kzn.model.endpoint import AMBIGUOUS, EXTERNAL, UNKNOWN, EndpointIndex

MAX_ADDRESSES = 100
"""In one question: it is answered on the event loop, and must fit into a request line."""

_NOBODY = {EXTERNAL: "external", UNKNOWN: "unknown", AMBIGUOUS: "ambiguous"}


def parse_addresses(texts: Sequence[str]) -> list[str]:
    """The addresses of a query; UsageError when there are none, too many, or it is not one."""
    if not 0 < len(texts) <= MAX_ADDRESSES:
        raise UsageError(
            f"{len(texts)} addresses are asked for",
            hint=f"?address=A&address=B, 1 to {MAX_ADDRESSES} of them",
        )
    return [_parse(text) for text in texts]


def answer(index: EndpointIndex, addresses: Sequence[str], now: float) -> bytes:
    """The body: for each address, in their order, whose it is at ``now`` (the index's clock)."""
    rows = np.frombuffer(b"".join(map(ip.pack, addresses)), np.uint8).reshape(-1, 16)
    ids = index.lookup(rows, now, now)
    found = [
        {"address": address} | _owner(index, int(number))
        for address, number in zip(addresses, ids, strict=True)
    ]
    return json.dumps({"addresses": found}).encode() + b"\n"


def _parse(text: str) -> str:
    try:
        return ip.text(ip.pack(text))
    except ValueError as error:
        raise UsageError(f"{text[:45]!r} is not an IP address", hint="such as 10.0.0.1") from error


def _owner(index: EndpointIndex, number: int) -> dict[str, Any]:
    if number < 0:
        return {"owner": _NOBODY[number]}
    endpoint = index.endpoint(number)
    return {
        "owner": endpoint.kind.lower(),
        "namespace": endpoint.namespace,
        "name": endpoint.name,
        "workload_kind": endpoint.workload_kind,
        "workload": endpoint.workload,
        "node": endpoint.node,
        "zone": endpoint.zone,
        "region": endpoint.region,
    }
