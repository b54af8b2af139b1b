"""kzn/daemon/http/places.py: who may be connected, and who is cut."""

from kzn.daemon.http.body import Body
from kzn.daemon.http.places import HttpLimits, Places


class Client:
    """A connection that remembers why it was cut."""

    def __init__(self, address: str = "10.0.0.1") -> None:
        self.address = address
        self.cuts: list[str] = []

    def cut(self, reason: str) -> None:
        self.cuts.append(reason)


def places(**limits: int) -> Places:
    return Places(HttpLimits(**limits))


def test_a_connection_that_waits_for_a_request_gives_way_to_a_new_one() -> None:
    found = places(connections=2)
    first, second, third = Client("a"), Client("b"), Client("c")
    assert [found.enter(one) for one in (first, second, third)] == ["", "", ""]
    assert (first.cuts, second.cuts, third.cuts) == (["evicted"], [], [])
    assert len(found) == 2


def test_a_connection_that_is_answered_keeps_its_place() -> None:
    found = places(connections=2)
    first, second, third = Client("a"), Client("b"), Client("c")
    found.enter(first)
    found.asks(first)
    found.enter(second)
    found.enter(third)
    assert (first.cuts, second.cuts) == ([], ["evicted"])
    found.asks(third)
    assert found.enter(Client("d")) == "connections"
    found.leave(first)
    assert found.enter(Client("d")) == ""


def test_a_connection_that_was_answered_waits_again() -> None:
    found = places(connections=1)
    first = Client("a")
    found.enter(first)
    found.asks(first)
    found.waits(first)
    assert found.is_waiting(first)
    assert found.enter(Client("b")) == ""
    assert first.cuts == ["evicted"]


def test_an_address_has_its_own_limit_and_evicts_only_its_own() -> None:
    found = places(connections=10, connections_per_address=2)
    other, first, second = Client("b"), Client("a"), Client("a")
    for client in (other, first, second):
        found.enter(client)
    found.asks(first)
    assert found.enter(Client("a")) == ""
    assert (other.cuts, first.cuts, second.cuts) == ([], [], ["evicted"])
    full = places(connections_per_address=1)
    full.enter(first)
    full.asks(first)
    assert full.enter(Client("a")) == "connections_per_address"
    assert full.enter(Client("b")) == ""


def test_leaving_twice_frees_one_place() -> None:
    found = places(connections=2, connections_per_address=2)
    first, second = Client("a"), Client("a")
    found.enter(first)
    found.enter(second)
    found.leave(first)
    found.leave(first)
    assert len(found) == 1
    found.asks(second)
    third = Client("a")
    found.enter(third)
    found.asks(third)
    assert found.enter(Client("a")) == "connections_per_address"


def test_unsent_bytes_are_bounded_and_a_shared_body_counts_once() -> None:
    found = places(unsent_bytes=100)
    shared, large = Body(60, b"x" * 60, None), Body(70, b"y" * 70, None)
    readers = [Client(str(number)) for number in range(3)]
    for reader in readers:
        found.enter(reader)
        found.sends(reader, shared)
    assert found.unsent_bytes == 60
    late = Client("late")
    found.enter(late)
    found.sends(late, large)
    assert [reader.cuts for reader in readers] == [["unsent"]] * 3
    assert (late.cuts, found.unsent_bytes) == ([], 70)
    found.sent(late)
    assert found.unsent_bytes == 0


def test_one_answer_may_be_larger_than_the_limit() -> None:
    found = places(unsent_bytes=10)
    client = Client()
    found.enter(client)
    found.sends(client, Body(70, b"y" * 70, None))
    assert client.cuts == []
