"""Owners by id: told once a minute, numbered once, also after numbers began anew."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from kzn.model.endpoint import EXTERNAL, POD, Endpoint
from kzn.server.recording.owners import OwnerNumbers, SeenOwners

A, B = (Endpoint(POD, "d", name, "Pod", name, "n1", "z", "r") for name in "ab")


@dataclass
class Index:
    """Owners by id."""

    owners: dict[int, Endpoint] = field(default_factory=lambda: {0: A, 5000: B})

    def endpoint(self, number: int) -> Endpoint:
        return self.owners[number]


@dataclass
class Numbered:
    """Numbers owners in the order of calls."""

    owners: list[Endpoint | int] = field(default_factory=list)

    def __call__(self, owner: Endpoint | int) -> int:
        self.owners.append(owner)
        return len(self.owners) - 1


def ids(*numbers: int) -> Any:
    return np.array(numbers, np.int32)


def test_an_owner_is_told_once_a_minute_and_again_if_it_was_not_told() -> None:
    seen, index = SeenOwners(), Index()
    first = seen.new(ids(0, EXTERNAL, 5000, 0), index, 10.0)  # type: ignore[arg-type]
    assert list(first) == [(0, A), (5000, B)]
    assert not seen.new(ids(0, 5000), index, 69.0)  # type: ignore[arg-type]
    assert list(seen.new(ids(0), index, 70.0)) == [(0, A)]  # type: ignore[arg-type]
    seen.forget([(0, A)])
    assert list(seen.new(ids(0, 5000), index, 70.0)) == [(0, A), (5000, B)]  # type: ignore[arg-type]


def test_ids_of_which_one_is_not_in_use_are_told_the_next_time() -> None:
    seen, index = SeenOwners(), Index()
    with pytest.raises(KeyError):
        seen.new(ids(0, 7), index, 10.0)  # type: ignore[arg-type]
    assert list(seen.new(ids(0), index, 11.0)) == [(0, A)]  # type: ignore[arg-type]


def test_each_owner_has_one_number_until_its_id_is_that_of_another() -> None:
    numbered = Numbered()
    numbers = OwnerNumbers(numbered)
    numbers.learn([(0, A), (5000, B)])
    assert numbers.of(ids(5000, EXTERNAL, 0, 5000)).tolist() == [2, 0, 1, 2]
    numbers.learn([(0, A), (5000, A)])
    assert numbers.of(ids(5000, EXTERNAL, 0)).tolist() == [3, 0, 1]
    assert numbered.owners == [EXTERNAL, A, B, A]
    numbers.begin_anew()
    assert numbers.of(ids(0, 5000)).tolist() == [4, 5]
