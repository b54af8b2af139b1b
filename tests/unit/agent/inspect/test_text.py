"""A batch as text, and the words for flags."""

import numpy as np

from kzn.agent.inspect.text import initiator, is_encrypted, lines
from kzn.model import ip
from kzn.model.batch import Batch
from kzn.model.flows import ENCRYPTED, INITIATOR_DESTINATION, INITIATOR_SOURCE, Flows
from kzn.model.totals import Counts, Totals


def test_the_largest_flow_comes_first_and_what_is_in_no_flow_last() -> None:
    texts = ("10.1.0.5", "10.2.0.7", "2001:db8::1", "2001:db8::2")
    rows = [np.frombuffer(ip.pack(text), np.uint8) for text in texts]
    flows = Flows(
        addresses=np.array(rows),
        src=np.array([0, 2], np.uint32),
        dst=np.array([1, 3], np.uint32),
        src_port=np.array([0, 443], np.uint16),
        dst_port=np.array([0, 0], np.uint16),
        protocol=np.array([50, 6], np.uint8),
        flags=np.array([ENCRYPTED, 2], np.uint8),
        packets=np.array([1, 3], np.uint64),
        bytes=np.array([84, 4000], np.uint64),
    )
    totals = Totals(seen=Counts(6, 4284), missed={"map_full": Counts(2, 200)})
    assert list(lines(Batch(7, 12_500, 2_500, flows, totals))) == [
        "batch 7: 2 flows in 10.0 s, seen 4284 bytes in 6 packets",
        "  [2001:db8::1]:443 > 2001:db8::2 tcp 4000 bytes 3 packets",
        "  10.1.0.5 > 10.2.0.7 esp encrypted 84 bytes 1 packets",
        "  missed (map_full) 200 bytes 2 packets",
    ]


def test_a_known_initiator_has_a_name() -> None:
    assert initiator(INITIATOR_SOURCE) == "source"
    assert initiator(INITIATOR_DESTINATION) == "destination"
    assert initiator(0) == initiator(ENCRYPTED) == ""


def test_the_encrypted_flag_is_independent_of_the_initiator() -> None:
    assert is_encrypted(ENCRYPTED | INITIATOR_SOURCE)
    assert not is_encrypted(INITIATOR_SOURCE)
