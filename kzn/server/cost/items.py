"""Bytes to be priced: columns of keys, routes and bytes, of which each byte is on one route.

In: rows of a table with new bytes, bytes beyond its limit, and flows whose price their zones do not
tell. Out: `Items`; a route is its row in `RoutePrices`. Never: a negative number of bytes, or a
byte lost between two routes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import I64, U64
from kzn.server.ledger.postings import BilledApart, Posting
from kzn.server.ledger.series import UnsettledRows

_BILLED_APART_FIELDS = tuple(BilledApart.__slots__)


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """Bytes by key of a family and route, each column (n,). ``caused`` is a part of the bytes.

    ``rows`` are those of the family's table, -1 for the series other.
    """

    rows: I64
    keys: I64
    routes: I64
    bytes: I64
    caused: I64


def of_rows(found: UnsettledRows, routes: I64) -> Items:
    """The new bytes of rows, as their zones tell the route."""
    return Items(
        found.rows, found.keys, routes, found.bytes.astype(np.int64), found.caused.astype(np.int64)
    )


def of_other(postings: Sequence[Posting], rows: I64, routes: I64) -> Items:
    """Bytes that went to the series other; ``rows`` and ``routes`` are of all their keys."""
    return Items(
        rows,
        np.concatenate([one.keys for one in postings]),
        routes,
        np.concatenate([one.bytes for one in postings]).astype(np.int64),
        np.concatenate(
            [np.zeros_like(one.bytes) if one.caused is None else one.caused for one in postings]
        ).astype(np.int64),
    )


def moved(keys: I64, rows: I64, routes: tuple[I64, I64], amounts: I64, caused: I64) -> Items:
    """Take bytes from the first of ``routes`` and add them to the second."""
    return Items(
        np.tile(rows, 2),
        np.tile(keys, 2),
        np.concatenate(routes),
        np.concatenate([-amounts, amounts]),
        np.concatenate([-caused, caused]),
    )


def netted(parts: Sequence[Items]) -> Items:
    """The sums of ``parts`` by key and route, without those that are nothing."""
    first, *more = parts
    if not more:
        return first
    rows, keys, routes, amounts, caused = (
        np.concatenate([getattr(part, name) for part in parts]) for name in Items.__slots__
    )
    if not len(keys):
        return first
    order = np.lexsort((routes, keys))
    rows, keys, routes, amounts, caused = (
        column.take(order) for column in (rows, keys, routes, amounts, caused)
    )
    differs = (keys[1:] != keys[:-1]) | (routes[1:] != routes[:-1])
    begin = np.flatnonzero(np.append(True, differs))
    amounts, caused = np.add.reduceat(amounts, begin), np.add.reduceat(caused, begin)
    some = np.flatnonzero(amounts)
    begin = begin.take(some)
    return Items(
        rows.take(begin),
        keys.take(begin),
        routes.take(begin),
        amounts.take(some),
        caused.take(some),
    )


def joined(flows: Sequence[BilledApart]) -> BilledApart:
    """The flows of several batches."""
    return BilledApart(
        *(np.concatenate([getattr(one, name) for one in flows]) for name in _BILLED_APART_FIELDS)
    )


def int_sums(rows: I64, amounts: I64 | U64, size: int) -> I64:
    """The exact sums of ``amounts`` (n,) by ``rows`` (n,) below ``size``."""
    found = np.zeros(size, np.int64)
    np.add.at(found, rows, amounts.astype(np.int64))
    return found
