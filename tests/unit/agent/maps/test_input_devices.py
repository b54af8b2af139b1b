"""Input devices in keys become senders; flows that differ by device alone are one flow."""

from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.agent.maps.columns import to_flows
from kzn.agent.maps.input_devices import name_senders
from kzn.agent.maps.rows import merge
from kzn.agent.maps.senders import Senders
from kzn.model.flows import BY_DEVICE, FAR_END_UNKNOWN, FLOW_KEY, NO_SENDER, TUNNEL_WITHOUT_ID
from kzn.model.ip import pack

POD, OTHER, NODE, FAR = (pack(one) for one in ("10.1.0.5", "10.1.0.6", "10.0.0.1", "8.8.8.8"))
SENDERS = Senders(pods={7: (POD,), 8: (OTHER,)})


def keys(*flows: tuple[bytes, int, int]) -> npt.NDArray[Any]:
    """Keys to `FAR`, from a source, with flags and the field ``tunnel``."""
    made = np.zeros(len(flows), FLOW_KEY)
    for key, (src, flags, tunnel) in zip(made, flows, strict=True):
        key["src"], key["dst"] = (np.frombuffer(one, np.uint8) for one in (src, FAR))
        key["flags"], key["tunnel"] = flags, tunnel
    return made


def test_a_source_that_is_not_the_pods_gets_a_sender_and_others_lose_their_device() -> None:
    found = keys(
        (POD, BY_DEVICE, 7),  # its own
        (NODE, BY_DEVICE, 7),
        (NODE, BY_DEVICE, 8),
        (NODE, BY_DEVICE, 9),  # nothing is known of the device
        (NODE, 0, 7),  # a tunnel
    )
    named = name_senders(found, SENDERS)
    assert set(named) == {POD, OTHER}
    assert found["tunnel"].tolist() == [0, named.index(POD) + 1, named.index(OTHER) + 1, 0, 7]
    assert found["flags"].tolist() == [0, BY_DEVICE, BY_DEVICE, 0, 0]


def test_rows_that_differ_by_device_alone_are_one_flow_and_senders_stay_apart() -> None:
    made = keys(*[(NODE, BY_DEVICE, device) for device in (7, 7, 8, 9, 10)], (NODE, 0, 0))
    counts = np.array([[1, 10], [2, 20], [4, 40], [8, 80], [16, 160], [32, 320]], np.uint64)
    named = name_senders(made, SENDERS)
    flows = to_flows(*merge(made, counts), lambda _: None, named)
    assert flows.sender is not None
    sizes = {
        "" if row == NO_SENDER else flows.addresses[row].tobytes(): size
        for row, size in zip(flows.sender.tolist(), flows.bytes.tolist(), strict=True)
    }
    assert sizes == {POD: 30, OTHER: 40, "": 560}
    assert flows.via is None
    assert not flows.flags.any()


def test_no_senders_are_no_column_and_a_device_is_not_a_tunnel() -> None:
    made = keys((POD, BY_DEVICE, TUNNEL_WITHOUT_ID), (NODE, 0, TUNNEL_WITHOUT_ID))
    assert name_senders(made, SENDERS) == []
    flows = to_flows(made, np.ones((2, 2), np.uint64), lambda _: FAR)
    assert flows.sender is flows.via is None
    assert sorted(flows.flags.tolist()) == [0, FAR_END_UNKNOWN]
