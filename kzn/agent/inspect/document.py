"""The JSON document of ``kzn inspect-map --json``; its keys are an interface. Pure."""

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from kzn.agent.inspect.rows import FlowRow, Part
from kzn.agent.inspect.snapshot import Buffer, Snapshot
from kzn.agent.maps.columns import by_lower_port
from kzn.client.api import AddressOwner


def document(
    snapshot: Snapshot,
    rows: Sequence[FlowRow],
    owners: Mapping[str, AddressOwner] | None,
    *,
    raw: bool,
) -> dict[str, Any]:
    """The document of one map set; ``flows`` in the order of ``rows``."""
    return {
        "probe": snapshot.name,
        "epoch": f"{snapshot.epoch:016x}",
        "sequence": snapshot.sequence,
        "capacity": snapshot.capacity,
        "row_capacity": snapshot.row_capacity,
        "links": [
            {"family": link.family, "priority": link.priority, "program_id": link.program_id}
            for link in snapshot.links
        ],
        "devices": [device_name(index) for index in snapshot.devices],
        "buffers": [_buffer(buffer) for buffer in snapshot.buffers],
        "flows": [_flow(snapshot, row, owners, raw=raw) for row in rows],
    }


def device_name(index: int) -> str:
    """The name of a device in this network namespace, or its index when there is none.

    A device of another namespace may have the same index, so run it where the agent runs.
    """
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)


def _buffer(buffer: Buffer) -> dict[str, Any]:
    totals = buffer.totals
    return {
        "state": buffer.state,
        "seconds": round(buffer.seconds, 3),
        "flows": len(buffer.flows),
        "rows": buffer.entries.in_rows,
        "in_hash": buffer.entries.in_hash,
        "seen": totals.seen._asdict(),
        "accounted": totals.accounted._asdict(),
        "lower_port": {
            protocol: counts._asdict() for protocol, counts in by_lower_port(buffer.flows).items()
        },
        "missed": {why: counts._asdict() for why, counts in totals.missed.items()},
        "ignored": {why: counts._asdict() for why, counts in totals.ignored.items()},
    }


def _flow(
    snapshot: Snapshot, row: FlowRow, owners: Mapping[str, AddressOwner] | None, *, raw: bool
) -> dict[str, Any]:
    found: dict[str, Any] = row.id._asdict()
    found |= {"bytes": row.counts.bytes, "packets": row.counts.packets}
    found |= {"bytes_per_second": round(row.rate, 1)}
    found["buffers"] = [
        {"state": snapshot.buffers[part.buffer].state, **part.counts._asdict()}
        for part in row.parts
    ]
    if owners is not None:
        found["src_owner"] = _owner(owners.get(row.id.src))
        found["dst_owner"] = _owner(owners.get(row.id.dst))
    if raw:
        found["raw"] = [_raw(snapshot.buffers[part.buffer], part) for part in row.parts]
    return found


def _owner(owner: AddressOwner | None) -> dict[str, str] | None:
    if owner is None:
        return None
    return {
        "kind": owner.owner,
        "namespace": owner.namespace,
        "name": owner.name,
        "workload_kind": owner.workload_kind,
        "workload": owner.workload,
        "zone": owner.zone,
    }


def _raw(buffer: Buffer, part: Part) -> dict[str, Any]:
    return {
        "map": f"flows_{buffer.number}",
        "key": buffer.entries.keys[part.entry].tobytes().hex(),
        "per_cpu": [
            {"cpu": cpu, "value": value_hex(packets, size), "packets": packets, "bytes": size}
            for cpu, packets, size in buffer.entries.per_cpu(part.entry)
        ],
    }


def value_hex(packets: int, size: int) -> str:
    """`struct flow_counts` as in memory (little-endian), in hexadecimal digits."""
    return packets.to_bytes(8, "little").hex() + size.to_bytes(8, "little").hex()
