"""The JSON of /api/v1/addresses: the current owner of each address. Pure; reads the index."""

from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np

from kzn.client.api import MAX_ADDRESSES, AddressOwner
from kzn.client.explain import parse_address
from kzn.errors import UsageError
from kzn.model import ip
from kzn.model.endpoint import AMBIGUOUS, EXTERNAL, NODE, UNKNOWN, EndpointIndex

_UNNAMED = {EXTERNAL: "external", UNKNOWN: "unknown", AMBIGUOUS: "ambiguous"}


def parse_addresses(texts: Sequence[str]) -> list[str]:
    """The addresses of a query; UsageError for none, too many, or text that is not an address."""
    if not 0 < len(texts) <= MAX_ADDRESSES:
        raise UsageError(
            f"the query has {len(texts)} addresses",
            hint=f"?address=A&address=B, 1 to {MAX_ADDRESSES} of them",
        )
    return [parse_address(text) for text in texts]


class OwnerIndex(EndpointIndex, Protocol):
    """An index that also says by whom it knows an owner."""

    def told_by_agent(self, address: bytes, node: str, at: float) -> bool:
        """Whether ``address`` is a node's only because the node's agent told it."""
        ...


def answer(index: OwnerIndex, addresses: Sequence[str], now: float) -> bytes:
    """The body: the owner of each address, in their order, at ``now`` (the index's clock)."""
    rows = np.frombuffer(b"".join(map(ip.pack, addresses)), np.uint8).reshape(-1, 16)
    ids = index.lookup(rows, now, now, held=True)
    found = [
        _owner(index, address, int(number), now).to_json()
        for address, number in zip(addresses, ids, strict=True)
    ]
    return msgspec.json.encode({"addresses": found}) + b"\n"


def _owner(index: OwnerIndex, address: str, number: int, now: float) -> AddressOwner:
    if number < 0:
        return AddressOwner(address, _UNNAMED[number])
    endpoint = index.endpoint(number)
    is_told = endpoint.kind == NODE and index.told_by_agent(ip.pack(address), endpoint.name, now)
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
        known_by="agent" if is_told else "",
    )
