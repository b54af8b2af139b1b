"""kzn/model/ip.py: addresses as 16 bytes and as text."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.model.ip import MAPPED_PREFIX, pack, text

NEAR_ADDRESSES = st.text("0123456789abcdefx:.%/ -\x00é", max_size=20)


@given(st.ip_addresses())
def test_an_address_survives_a_round_trip(address: IPv4Address | IPv6Address) -> None:
    prefix = MAPPED_PREFIX if address.version == 4 else b""
    assert pack(str(address)) == prefix + address.packed
    assert pack(text(pack(str(address)))) == pack(str(address))


@given(NEAR_ADDRESSES)
def test_pack_accepts_what_ipaddress_accepts(written: str) -> None:
    try:
        address = ip_address(written)
    except ValueError:
        with pytest.raises(ValueError, match="does not appear to be"):
            pack(written)
    else:
        assert pack(written)[-len(address.packed) :] == address.packed


@pytest.mark.parametrize("written", ["1.2.3", "01.2.3.4", "1.2.3.4 ", "::1/64", "1::2::3", ""])
def test_text_like_an_address_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        pack(written)


def test_a_zone_index_is_ignored() -> None:
    assert pack("fe80::1%eth0") == pack("fe80::1")
    assert pack("::ffff:10.0.0.1") == pack("10.0.0.1")
