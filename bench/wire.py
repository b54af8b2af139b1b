"""Cost of a flow on the wire and in CPU time, beside a plain encoding of 20 bytes a flow.

The traffic is that of a typical node: pods of its /24 and pods of other nodes, nodes and outside
addresses, in both directions, with ports as of `--ports service` and counters over five orders of
magnitude. Figures are medians over several such nodes, and include frame and totals.
"""

import statistics
import time
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from lib.report import finish

from kzn.model.batch import Batch
from kzn.model.flows import NO_VIA, Flows
from kzn.model.totals import Counts, Totals
from kzn.wire.codec import decode_to_server, encode_to_server
from kzn.wire.columns import LEVEL, PLANES
from kzn.wire.decode_batch import decode_batch
from kzn.wire.encode_batch import EncodedBatch, encode_batch
from kzn.wire.frames import frame
from kzn.wire.limits import Limits

FLOWS = 5_000
LOCAL, REMOTE, NODES, WORLD = 40, 380, 40, 40
PORTS = (80, 443, 8080, 5432, 6379, 9092, 53, 3306, 9090, 50051)
PLAIN = np.dtype([("src", "V4"), ("dst", "V4"), ("port", "<u2"), ("x", "<u2"), ("bytes", "<u8")])
SEEDS = range(5)
ROUNDS = 20


def node(seed: int, *, ipv6: bool = False, even: bool = False) -> Flows:
    """The flows of one node in one interval; ``even``: all peers have the same share."""
    rng = np.random.default_rng(seed)
    addresses = _addresses(rng, ipv6=ipv6)
    total = len(addresses)
    # A few pods have most of the flows; a flow has at least one end on this node.
    local = rng.zipf(1.3, FLOWS * 4) % LOCAL
    other = LOCAL + rng.zipf(1.2, FLOWS * 4) % (total - LOCAL)
    if even:
        local = rng.integers(0, LOCAL, FLOWS * 4)
        other = rng.integers(LOCAL, total, FLOWS * 4)
    port = rng.choice(PORTS, FLOWS * 4, p=rng.dirichlet(np.ones(len(PORTS))))
    asked = rng.integers(0, 2, FLOWS * 4)  # which end was connected to
    outward = rng.integers(0, 2, FLOWS * 4)
    rows = np.unique(np.column_stack([local, other, port, asked, outward]), axis=0)
    rows = rows[rng.permutation(len(rows))[:FLOWS]]
    if len(rows) < FLOWS:
        raise SystemExit(f"only {len(rows)} distinct flows could be made")
    local, other, port, asked, outward = rows.T
    to_service = asked == outward
    packets = np.maximum(1, rng.lognormal(3.0, 2.2, FLOWS)).astype(np.uint64)
    size = np.where(outward == asked, rng.normal(180, 60, FLOWS), rng.normal(900, 350, FLOWS))
    return Flows(
        addresses,
        src=np.where(outward, local, other).astype(np.uint32),
        dst=np.where(outward, other, local).astype(np.uint32),
        src_port=np.where(to_service, 0, port).astype(np.uint16),
        dst_port=np.where(to_service, port, 0).astype(np.uint16),
        protocol=np.where(port == 53, 17, 6).astype(np.uint8),
        flags=np.where(to_service, 1, 2).astype(np.uint8),
        packets=packets,
        bytes=(packets * np.clip(size, 52, 1500)).astype(np.uint64),
    )


def _addresses(rng: np.random.Generator, *, ipv6: bool) -> np.ndarray:
    """Addresses (16 bytes): pods of this node and of 30 others, nodes, outside addresses."""
    hosts = [(10, 64, 7, host) for host in rng.permutation(250)[:LOCAL]]
    others = {(10, 64, n, h) for n, h in rng.integers((8, 1), (38, 250), (REMOTE * 2, 2))}
    hosts += sorted(others)[:REMOTE] if len(others) >= REMOTE else []
    hosts += [(10, 0, i % 3, 10 + i) for i in range(NODES)]
    hosts += [tuple(row) for row in rng.integers(1, 223, (WORLD, 4))]
    found = np.zeros((len(hosts), 16), np.uint8)
    found[:, :12] = np.frombuffer(bytes.fromhex("fd00" + "00" * 10), np.uint8)
    if not ipv6:
        found[:, :12] = np.frombuffer(bytes(10) + b"\xff\xff", np.uint8)
    found[:, 12:] = hosts
    return found


def overlay(flows: Flows) -> Flows:
    """The same flows as an overlay carries them: pods of other nodes are behind their nodes."""
    third = flows.addresses[:, 14].astype(np.uint32)
    is_pod = (flows.addresses[:, 12] == 10) & (flows.addresses[:, 13] == 64) & (third >= 8)
    first = LOCAL + REMOTE
    node = np.where(is_pod, first + third % NODES, NO_VIA).astype(np.uint32)
    return replace(flows, via=node.take(flows.dst))


def plain(flows: Flows) -> bytes:
    """The plain encoding: addresses (IPv4), a port and its protocol, bytes, row after row."""
    rows = np.empty(len(flows), PLAIN)
    last = np.ascontiguousarray(flows.addresses[:, 12:]).view("V4").reshape(-1)
    rows["src"], rows["dst"] = last[flows.src], last[flows.dst]
    rows["port"], rows["x"] = np.maximum(flows.src_port, flows.dst_port), flows.protocol
    rows["bytes"] = flows.bytes
    return rows.tobytes()


def batch_of(flows: Flows) -> Batch:
    """The batch that an agent would send."""
    seen = Counts(int(flows.packets.sum()), int(flows.bytes.sum()))
    return Batch(1, 10_000, 0, flows, Totals(seen))


def sent(batch: Batch) -> bytes:
    """The frame of a batch."""
    return frame(encode_to_server(encode_batch(batch)))


def received(data: bytes) -> Batch:
    """The batch that the server decodes from a frame."""
    message = decode_to_server(data[4:])
    if not isinstance(message, EncodedBatch):
        raise TypeError("not a batch")
    return decode_batch(message, Limits())


def milliseconds(work: Callable[[], object]) -> float:
    """The median CPU time of ``work``."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        work()
        times.append(time.process_time_ns() - began)
    return statistics.median(times) / 1e6


def main() -> None:
    """Measure, check that batches are decoded unchanged, and print."""
    nodes = [node(seed) for seed in SEEDS]
    frames = [sent(batch_of(flows)) for flows in nodes]
    for flows, data in zip(nodes, frames, strict=True):
        back = received(data).flows
        if (back.bytes.sum(), len(back)) != (flows.bytes.sum(), len(flows)):
            raise SystemExit("the decoded batch differs from the encoded one")
    first, batch = nodes[0], batch_of(nodes[0])
    encode, decode = milliseconds(lambda: sent(batch)), milliseconds(lambda: received(frames[0]))
    ours = statistics.median(len(data) for data in frames) / FLOWS
    baseline = len(plain(first)) / FLOWS
    finish(
        "wire",
        ours,
        baseline,
        "bytes a flow",
        {
            "flows": FLOWS,
            "addresses": len(first.addresses),
            "largest": round(max(len(data) for data in frames) / FLOWS, 3),
            "ipv6": round(len(sent(batch_of(node(0, ipv6=True)))) / FLOWS, 3),
            "even": round(len(sent(batch_of(node(0, even=True)))) / FLOWS, 3),
            "overlay": round(
                statistics.median(len(sent(batch_of(overlay(flows)))) for flows in nodes) / FLOWS,
                3,
            ),
            "plain_under_zlib": round(len(zlib.compress(plain(first), LEVEL)) / FLOWS, 3),
            "uncompressed_columns": round(PLANES + 4 * len(first.addresses) / FLOWS, 3),
            "encode_ms": round(encode, 3),
            "decode_ms": round(decode, 3),
            "encode_ns_a_flow": round(encode * 1e6 / FLOWS, 1),
            "decode_ns_a_flow": round(decode * 1e6 / FLOWS, 1),
            "plain_encode_ms": round(milliseconds(lambda: plain(first)), 3),
        },
    )


if __name__ == "__main__":
    main()
