"""Which of the addresses behind a device is the pod's own."""

import pytest

from kzn.agent.maps.senders import MAX_GONE, Senders, number, ranked, sender_of
from kzn.model.ip import pack

POD, OTHER, VIP, POD6 = (pack(one) for one in ("10.1.0.5", "10.1.0.6", "34.1.2.3", "fd00::5"))
LINK_LOCAL, NODE = pack("169.254.172.5"), pack("192.168.0.7")


def test_the_address_in_the_range_of_other_pods_comes_first() -> None:
    first, second = ranked([[VIP, POD, POD6], [OTHER]])
    assert set(first) == {VIP, POD, POD6}
    assert first.index(POD) < first.index(VIP)
    assert second == (OTHER,)


def test_what_several_pods_have_or_is_link_local_tells_no_pod() -> None:
    assert ranked([[VIP, POD, LINK_LOCAL], [VIP, OTHER]]) == [(POD,), (OTHER,)]


@pytest.mark.parametrize(
    ("source", "group", "sender"),
    [
        (POD, (POD,), None),
        (POD, (POD, VIP), VIP),  # the server keeps a pod's own
        (POD6, (POD, POD6), None),
        (VIP, (POD, VIP), POD),
        (VIP, (POD, POD6), POD),
        (NODE, (POD, POD6), POD),
        (LINK_LOCAL, (POD6,), POD6),
        (NODE, (), None),
        (NODE, (POD, OTHER), None),  # several pods are behind the device
        (OTHER, (POD, OTHER, VIP), POD),
    ],
)
def test_the_sender_is_the_one_likely_address_of_the_sources_family(
    source: bytes, group: tuple[bytes, ...], sender: bytes | None
) -> None:
    assert sender_of(source, group) == sender


def test_behind_a_bridge_addresses_of_one_neighbour_are_one_pods() -> None:
    table = {POD: b"aa", VIP: b"aa", OTHER: b"bb"}
    asked: list[int] = []

    def neighbours(index: int) -> dict[bytes, bytes]:
        asked.append(index)
        return table

    senders = Senders(bridges={number(65545): 65545}, neighbours=neighbours)
    assert senders.of([(9, VIP), (9, POD), (9, OTHER), (9, NODE)]) == [POD, VIP, None, None]
    assert asked == [65545]


def test_devices_that_are_gone_are_known_until_there_are_too_many() -> None:
    now = Senders(pods={1: (POD,)}, bridges={3: 3})
    found = now.after(Senders(pods={1: (VIP,), 2: (OTHER,), 3: (VIP,)}))
    assert found.pods == {1: (POD,), 2: (OTHER,)}
    many = Senders(pods=dict.fromkeys(range(10, 11 + MAX_GONE), (OTHER,)))
    assert found.after(many).pods.keys() == {1, 2} | {*range(11, 11 + MAX_GONE)}
