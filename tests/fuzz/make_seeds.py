"""Writes the seeds: a few small inputs of each target that reach all its branches."""

import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1])]

import numpy as np  # noqa: E402

from kzn.model.batch import Batch  # noqa: E402
from kzn.model.flows import Flows  # noqa: E402
from kzn.model.totals import Counts, Totals  # noqa: E402
from kzn.wire.codec import encode_to_agent, encode_to_server  # noqa: E402
from kzn.wire.encode_batch import encode_batch  # noqa: E402
from kzn.wire.frames import frame  # noqa: E402
from kzn.wire.limits import MAX_NODE_ADDRESSES, Limits  # noqa: E402
from kzn.wire.messages import Ack, Hello, NodeAddresses, Reason, Refusal, Welcome  # noqa: E402

HELLO = Hello("node-a", 7, "a.b.c", "0.1.0", "postrouting")


def flows() -> Flows:
    """Three flows over two IPv4 addresses and an IPv6 one."""
    addresses = np.zeros((3, 16), np.uint8)
    addresses[:2, 10:12] = 0xFF
    addresses[:, 12:] = [[10, 0, 0, 1], [10, 0, 0, 2], [0, 0, 0, 9]]
    return Flows(
        addresses,
        src=np.array([0, 1, 2], np.uint32),
        dst=np.array([1, 0, 2], np.uint32),
        src_port=np.array([0, 443, 0], np.uint16),
        dst_port=np.array([443, 0, 53], np.uint16),
        protocol=np.array([6, 6, 17], np.uint8),
        flags=np.array([1, 2, 0], np.uint8),
        packets=np.array([3, 2, 1], np.uint64),
        bytes=np.array([4000, 104, 60], np.uint64),
    )


def seeds() -> dict[str, dict[str, bytes]]:
    """The seeds, by target and name."""
    totals = Totals(Counts(7, 4200), {"map_full": Counts(1, 36)})
    full = encode_batch(Batch(1, 10_000, 0, flows(), totals))
    empty = encode_batch(Batch(1, 10_000, 0, Flows.empty(), Totals()))
    hello, batch, none = (encode_to_server(m) for m in (HELLO, full, empty))
    told = encode_to_server(NodeAddresses((bytes(range(16)), bytes(16))))
    second = encode_to_server(replace(full, sequence=2))
    answers = {
        "ack": Ack(3),
        "refusal": Refusal(Reason.BUSY, "later"),
        "welcome": Welcome(2, Limits()),
        "welcome-new": Welcome(None, Limits()),
        "welcome-addresses": Welcome(2, Limits(), max_node_addresses=MAX_NODE_ADDRESSES),
    }
    head = b"".join(n.to_bytes(2, "little") for n in (3, 2, 1, 4, 9, 3))
    return {
        "framing": {
            "two": b"\x02\x20" + frame(b"hello") + frame(b"there"),
            "long": b"\x02\x02" + frame(b"hello"),
        },
        "to_server": {"hello": hello, "batch": batch, "empty": none, "addresses": told},
        "columns": {
            "few": head + (0x3FFFFFFF).to_bytes(4, "little") + bytes(range(30)),
            "zeros": head + (0x101).to_bytes(4, "little") + b"\x00",
        },
        "to_agent": {name: encode_to_agent(answer) for name, answer in answers.items()},
        "handshake": {
            "twice": frame(hello) + frame(batch) + frame(batch) + frame(second),
            "no-hello": frame(batch),
            "addresses": frame(hello) + frame(told) + frame(batch) + frame(told),
        },
    }


def main() -> None:
    """Write all seeds into the folder beside this file."""
    for target, by_name in seeds().items():
        folder = HERE / "seeds" / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in by_name.items():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
