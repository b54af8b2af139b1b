"""kzn/topology/tables/address_table.py: numbers of addresses against those of a dict."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.topology.tables.address_table import UNOWNED, AddressTable

ADDRESSES = [bytes([0] * 15 + [number]) for number in range(40)]
Step = tuple[int, int | None]


def asked(table: AddressTable, addresses: list[bytes]) -> list[int]:
    rows = np.frombuffer(b"".join(addresses), np.uint8).reshape(-1, 16)
    return [int(number) for number in table.find(rows)]


@pytest.mark.slow
@given(st.lists(st.lists(st.tuples(st.integers(0, 39), st.integers(-9, 99) | st.none()))))
def test_a_table_has_the_numbers_of_a_dict(rounds: list[list[Step]]) -> None:
    table, plain = AddressTable(), dict[bytes, int]()
    for steps in rounds:
        for at, number in steps:
            address = ADDRESSES[at]
            if number is not None:
                table.put(address, number)
                plain[address] = number
            elif address in table:
                table.remove(address)
                del plain[address]
        assert asked(table, ADDRESSES) == [plain.get(address, UNOWNED) for address in ADDRESSES]
        assert len(table) == len(plain)


def test_a_table_grows_with_its_contents() -> None:
    table = AddressTable()
    many = [number.to_bytes(16, "big") for number in range(0, 50_000 << 8, 1 << 8)]
    for count, address in enumerate(many):
        table.put(address, count)
        if count % 9973 == 0:
            assert asked(table, [address]) == [count]
    assert asked(table, many) == list(range(len(many)))


@pytest.mark.slow
def test_removed_addresses_do_not_fill_the_table() -> None:
    table = AddressTable()
    stays = b"\xff" * 16
    table.put(stays, 7)
    for number in range(20_000):
        address = number.to_bytes(16, "big")
        table.put(address, number)
        if number >= 20:
            table.remove((number - 20).to_bytes(16, "big"))
        assert asked(table, [address, stays]) == [number, 7]
    assert table.slots == 1024
