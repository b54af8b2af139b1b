"""The names of ends by their numbers, as the columns of files need them. Pure.

In: ends as they get their numbers, ids of nodes. Out: for any rows the columns of both their ends,
and the numbers of what ends have in common: their workload, their node, their place.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import I32, I64
from kzn.history.columns import DETAIL, END_FIELDS, OF_PLACE
from kzn.history.writing.parquet import Column, Texts, Values
from kzn.model.settled import End

OF_WORKLOAD: tuple[str, ...] = tuple(name for name in END_FIELDS if name not in DETAIL)
_FIELDS = {name: place for place, name in enumerate(End._fields)}
Common = Literal["workload", "node", "place"]
Table = dict[str, Column]


class _Growing:
    """Rows of numbers (n, width) to which rows are added."""

    def __init__(self, width: int) -> None:
        self._room: I32 = np.zeros((1024, width), np.int32)
        self._size = 0

    def add(self, rows: Sequence[Sequence[int]]) -> None:
        if not rows:
            return
        end = self._size + len(rows)
        if end > len(self._room):
            room = np.zeros((max(end, 2 * len(self._room)), self._room.shape[1]), np.int32)
            room[: self._size] = self._room[: self._size]
            self._room = room
        self._room[self._size : end] = rows
        self._size = end

    def column(self, place: int) -> I32:
        found: I32 = self._room[: self._size, place]
        return found


class _Firsts:
    """For each end the first one that has the same in some fields."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._places = [_FIELDS[name] for name in fields]
        self._first: dict[tuple[int, ...], int] = {}
        self._of_end = _Growing(1)

    def add(self, first: int, codes: Sequence[tuple[int, ...]]) -> None:
        keys = (tuple([row[place] for place in self._places]) for row in codes)
        self._of_end.add([(self._first.setdefault(key, n),) for n, key in enumerate(keys, first)])

    def of(self, ends: I64) -> I64:
        return self._of_end.column(0).take(ends).astype(np.int64)


class EndNames:
    """Names of ends numbered from 0 on."""

    def __init__(self) -> None:
        self._values = {name: Values() for name in END_FIELDS}
        self._codes: dict[str, dict[str, int]] = {name: {} for name in END_FIELDS}
        self._of_end = _Growing(len(_FIELDS))
        self._id_of_node = np.zeros(1024, np.int32)
        self._code("provider_id", "")
        self._common: dict[Common, _Firsts] = {
            "workload": _Firsts(OF_WORKLOAD),
            "node": _Firsts(("node", *OF_PLACE)),
            "place": _Firsts(OF_PLACE),
        }
        self.size = 0

    def add(self, ends: Sequence[End], provider_ids: Mapping[str, str]) -> None:
        """The next ends, with ids of their nodes where they are known."""
        known = len(self._values["node"])
        codes = [
            tuple(self._code(name, text) for name, text in zip(End._fields, end, strict=True))
            for end in ends
        ]
        self._of_end.add(codes)
        for common in self._common.values():
            common.add(self.size, codes)
        self.size += len(ends)
        nodes = list(self._codes["node"])[known:]
        self.identify({node: provider_ids[node] for node in nodes if node in provider_ids})

    def identify(self, provider_ids: Mapping[str, str]) -> bool:
        """Ids of nodes from now on; whether that of an end changes."""
        changed = False
        size = len(self._values["node"])
        if size > len(self._id_of_node):
            more = np.zeros(2 * size - len(self._id_of_node), np.int32)
            self._id_of_node = np.append(self._id_of_node, more)
        for node, provider_id in provider_ids.items():
            number = self._codes["node"].get(node)
            if number is None:
                continue
            code = self._code("provider_id", provider_id)
            changed |= code != int(self._id_of_node[number])
            self._id_of_node[number] = code
        return changed

    def columns(self, side: str, ends: I64, fields: Sequence[str] = END_FIELDS) -> Table:
        """The columns of one side of rows whose ends these are."""
        used, rows = _used(ends, self.size)
        return {f"{side}_{name}": self._texts(name, used, rows) for name in fields}

    def common(self, kind: Common, ends: I64) -> I64:
        """For each end the first one with the same workload, node or place."""
        return self._common[kind].of(ends)

    def _texts(self, name: str, used: I64, rows: npt.NDArray[np.intp]) -> Texts:
        if name == "provider_id":
            nodes = self._of_end.column(_FIELDS["node"]).take(used)
            codes = self._id_of_node.take(nodes)
        else:
            codes = self._of_end.column(_FIELDS[name]).take(used)
        return Texts(codes.take(rows), self._values[name])

    def _code(self, name: str, text: str) -> int:
        codes = self._codes[name]
        code = codes.get(text)
        if code is None:
            code = codes[text] = len(codes)
            self._values[name].add(text)
        return code


def _used(ends: I64, size: int) -> tuple[I64, npt.NDArray[np.intp]]:
    """The ends that occur, ascending, and for each row its place among them."""
    if size > 8 * len(ends):
        found, places = np.unique(ends, return_inverse=True)
        return found, places
    is_used = np.zeros(size, np.bool_)
    is_used[ends] = True
    found = np.flatnonzero(is_used)
    place = np.zeros(size, np.intp)
    place[found] = np.arange(len(found))
    return found, place.take(ends)
