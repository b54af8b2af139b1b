"""Several small codes packed into one non-negative int64, so that a row of labels is one key."""

from collections.abc import Iterable

import numpy as np

from kzn.columns.arrays import I64


class KeyLayout:
    """Bit widths of the columns, most significant first; together at most 63."""

    __slots__ = ("_shifts", "_widths")

    def __init__(self, *widths: int) -> None:
        if sum(widths) > 63:
            raise ValueError(f"{sum(widths)} bits do not fit in an int64 key")
        self._widths = widths
        self._shifts = tuple(sum(widths[i + 1 :]) for i in range(len(widths)))

    def pack(self, *columns: I64 | int) -> I64:
        """One key per row of ``columns``; codes must fit their widths, which is not checked."""
        key: I64 = np.zeros((), np.int64)
        for column, shift in zip(columns, self._shifts, strict=True):
            key = key | (np.asarray(column, np.int64) << shift)
        return key

    def pack_row(self, codes: Iterable[int]) -> int:
        """The key of one row, by plain integers; much faster than `pack` of one row."""
        key = 0
        for code, shift in zip(codes, self._shifts, strict=True):
            key |= code << shift
        return key

    def column(self, keys: I64, number: int) -> I64:
        """One column of ``keys``."""
        return (keys >> self._shifts[number]) & ((1 << self._widths[number]) - 1)

    def unpack(self, keys: I64) -> tuple[I64, ...]:
        """The columns of ``keys``, each of the same shape."""
        return tuple(
            (keys >> shift) & ((1 << width) - 1)
            for shift, width in zip(self._shifts, self._widths, strict=True)
        )
