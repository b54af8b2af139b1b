"""The JSON of /api/v1/addresses: the current owner of each address. Pure; reads the index."""

from collections.abc import Sequence

import msgspec
import numpy as np

from kzn.client.api import MAX_ADDRESSES, AddressOwner
from kzn.client.explain import parse_address
from kzn.errors import UsageError
from kzn.model import ip
from kzn.model.endpoint import AMBIGUOUS, EXTERNAL, UNKNOWN, EndpointIndex

_UNNAMED = {EXTERNAL: "external", UNKNOWN: "unknown", AMBIGUOUS: "ambiguous"}


def parse_addresses(texts: Sequence[str]) -> list[str]:
    """The addresses of a query; UsageError for none, too many, or text that is not an address."""
    if not 0 < len(texts) <= MAX_ADDRESSES:
        raise UsageError(
            f"the query has {len(texts)} addresses",
            hint=f"?address=A&address=B, 1 to {MAX_ADDRESSES} of them",
        )
    return [parse_address(text) for text in texts]


def answer(index: EndpointIndex, addresses: Sequence[str], now: float) -> bytes:
    """The body: the owner of each address, in their order, at ``now`` (the index's clock)."""
    rows = np.frombuffer(b"".join(map(ip.pack, addresses)), np.uint8).reshape(-1, 16)
    ids = index.lookup(rows, now, now, held=True)
    found = [
        _owner(index, address, int(number)).to_json()
        for address, number in zip(addresses, ids, strict=True)
    ]
    return msgspec.json.encode({"addresses": found}) + b"\n"


def _owner(index: EndpointIndex, address: str, number: int) -> AddressOwner:
    if number < 0:
        return AddressOwner(address, _UNNAMED[number])
    endpoint = index.endpoint(number)
    return AddressOwner(
        address,
        endpoint.kind.lower(),
        namespace=endpoint.namespace,
        name=endpoint.name,
        workload_kind=endpoint.workload_kind,
        workload=endpoint.workload,
        node=endpoint.node,
        zone=endpoint.zone,
        region=endpoint.region,
    )
