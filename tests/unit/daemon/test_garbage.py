"""kzn/daemon/garbage.py: which collections there are, and what they leave out."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from kzn.daemon.garbage import LOOK_SECONDS, FrozenHeap, limit_collections, release


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    """A collector that does nothing by itself, and afterwards the one from before."""
    before = gc.get_threshold()
    gc.collect()
    gc.disable()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)
    gc.enable()


class Cycle:
    """An object that only a collection frees."""

    def __init__(self) -> None:
        self.me = self


class Memory:
    """Blocks that are allocated, and a clock."""

    def __init__(self) -> None:
        self.blocks = 1_000
        self.now = 0.0
        self.heap = FrozenHeap(lambda: self.now, lambda: self.blocks)

    def after_an_hour(self, blocks: int) -> None:
        self.blocks, self.now = blocks, self.now + LOOK_SECONDS
        self.heap.tick()


def test_a_collection_visits_some_thousand_objects_and_none_is_full() -> None:
    limit_collections()
    young, middle, full = gc.get_threshold()
    assert young * (middle + 1) <= 8_000
    assert full == 1 << 30


def test_what_survived_the_middle_generation_is_frozen_by_the_next_tick() -> None:
    heap, frozen = FrozenHeap(), gc.get_freeze_count()
    heap.tick()
    assert gc.get_freeze_count() == frozen  # nothing was collected yet
    gc.collect(1)
    heap.tick()
    assert gc.get_freeze_count() > frozen
    assert gc.get_count()[2] == 0
    assert not gc.get_objects(2)


def test_a_young_cycle_is_freed_before_anything_is_frozen() -> None:
    cycle = weakref.ref(Cycle())
    gc.collect(1)
    assert cycle() is None


def test_a_frozen_cycle_is_freed_once_the_process_has_grown_by_half() -> None:
    memory, alive = Memory(), Cycle()
    cycle = weakref.ref(alive)
    gc.collect(1)
    memory.heap.tick()
    del alive
    memory.after_an_hour(1_000)  # what is usual
    memory.after_an_hour(1_500)
    gc.collect()
    assert cycle() is not None
    memory.after_an_hour(1_501)
    assert cycle() is None


def test_growth_is_from_the_last_full_collection_and_looked_at_each_hour() -> None:
    memory, alive = Memory(), Cycle()
    cycle = weakref.ref(alive)
    memory.after_an_hour(1_000)
    memory.after_an_hour(2_000)  # a full one: 2,000 are usual now
    gc.collect(1)
    memory.heap.tick()
    del alive
    memory.after_an_hour(2_900)
    memory.blocks, memory.now = 9_000, memory.now + LOOK_SECONDS - 1
    memory.heap.tick()
    assert cycle() is not None
    memory.now += 1
    memory.heap.tick()
    assert cycle() is None


def test_a_transport_without_a_reader_of_its_own_can_be_released() -> None:
    release(object())
