"""The query of /api/v1/traffic and of `kzn flows` as text: one grammar for both. Pure.

In: parameters as text. Out: a `TrafficQuery`. UsageError names what is wrong and what there is.
"""

import re
from collections.abc import Mapping, Sequence
from typing import cast

from kzn.client.explain import parse_any_time
from kzn.errors import UsageError
from kzn.history.export_query import DEFAULT_ROWS, Export, Format
from kzn.history.query import FILTERS, MAX_BY, TrafficQuery
from kzn.pricing.traffic import CLASSES

DEFAULT_SINCE = "1h"
PARAMETERS = frozenset({"since", "from", "to", "by", "where", "limit", "points", "compare"})
EXPORT_PARAMETERS = PARAMETERS - {"compare"} | {"format"}
_SINCE = re.compile(r"([0-9]{1,6})(s|m|h|d|w)")
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
_MAX_PORT = 65_535
_VALUES = {
    "class": (*CLASSES, "unresolved"),
    "initiator": ("source", "destination", "unknown"),
}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def parse_query(
    parameters: Mapping[str, Sequence[str]], now: float, *, limit: int = 50
) -> TrafficQuery:
    """The query of repeated text parameters (`PARAMETERS`)."""
    for name in parameters:
        if name not in PARAMETERS:
            raise UsageError(
                f"{name[:40]!r} is not a parameter", hint=", ".join(sorted(PARAMETERS))
            )
    one = {name: _one(name, values) for name, values in parameters.items() if name not in _LISTS}
    end = parse_span_time(one["to"], now) if "to" in one else now
    if "from" in one:
        if "since" in one:
            raise UsageError("since and from exclude each other")
        begin = parse_span_time(one["from"], now)
    else:
        begin = end - parse_since(one.get("since", DEFAULT_SINCE))
    compare = one.get("compare", "")
    if compare not in {"", "previous"}:
        raise UsageError(f"compare {compare[:40]!r} is not known", hint="previous")
    by = tuple(name for text in parameters.get("by", ()) for name in text.split(",") if name)
    if len(by) > MAX_BY:
        raise UsageError(f"by: at most {MAX_BY} dimensions, each once")
    return TrafficQuery(
        begin=int(begin),
        end=max(int(end), int(begin) + 1) if begin < end else int(end),
        by=by,
        where=parse_where(parameters.get("where", ())),
        limit=_number("limit", one, limit),
        points=_number("points", one, 0),
        compare=compare == "previous",
    )


def parse_export(parameters: Mapping[str, Sequence[str]], now: float) -> Export:
    """The export of repeated text parameters (`EXPORT_PARAMETERS`)."""
    for name in parameters:
        if name not in EXPORT_PARAMETERS:
            raise UsageError(
                f"{name[:40]!r} is not a parameter", hint=", ".join(sorted(EXPORT_PARAMETERS))
            )
    asked = dict(parameters)
    form = _one("format", asked.pop("format", ("csv",)))
    limit = asked.pop("limit", None)
    rows = DEFAULT_ROWS if limit is None else _number("limit", {"limit": _one("limit", limit)}, 0)
    return Export(parse_query(asked, now, limit=0), cast(Format, form), rows)


def parse_since(text: str) -> int:
    """``90s``, ``15m``, ``24h``, ``7d`` or ``2w`` as seconds; UsageError."""
    found = _SINCE.fullmatch(text)
    if found is None or not int(found[1]):
        raise UsageError(f"{text[:40]!r} is not a duration", hint="write 15m, 24h, 7d or 2w")
    return int(found[1]) * _UNITS[found[2]]


def to_parameters(query: TrafficQuery) -> list[tuple[str, str]]:
    """A query as parameters of a URL."""
    found = [("from", str(query.begin)), ("to", str(query.end)), ("limit", str(query.limit))]
    if query.by:
        found.append(("by", ",".join(query.by)))
    found += [("where", f"{name}:{value}") for name, values in query.where for value in values]
    if query.points:
        found.append(("points", str(query.points)))
    if query.compare:
        found.append(("compare", "previous"))
    return found


_LISTS = frozenset({"by", "where"})


def parse_where(texts: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """``DIMENSION=VALUE`` or ``DIMENSION:VALUE`` as filters; UsageError."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        # The first of both, so that values may contain either.
        at = min((text.index(mark) for mark in ":=" if mark in text), default=-1)
        if at < 0:
            raise UsageError(f"where {text[:40]!r} has no value", hint="DIMENSION:VALUE")
        name, value = text[:at], text[at + 1 :]
        if name not in FILTERS:
            raise UsageError(f"{name[:40]!r} is not a filter", hint=", ".join(FILTERS))
        _check_value(name, value)
        found[name] = (*found.get(name, ()), value)
    return tuple(found.items())


def _check_value(name: str, value: str) -> None:
    """UsageError for a value that no flow can have: an answer would say that nothing was sent."""
    known = _VALUES.get(name)
    if known is not None and value not in known:
        raise UsageError(f"{value[:40]!r} is not a value of {name}", hint=", ".join(known))
    if name == "port" and not (_PORT.fullmatch(value) and int(value) <= _MAX_PORT):
        raise UsageError(f"{value[:40]!r} is not a port", hint=f"0 to {_MAX_PORT}")


def parse_span_time(text: str, now: float) -> float:
    """An end of a span, which may be in the future: Unix seconds, RFC 3339 or ago; UsageError."""
    if text.isascii() and text.isdigit() and len(text) < 12:
        return float(text)
    return parse_any_time(text, now)


def _one(name: str, values: Sequence[str]) -> str:
    if len(values) != 1:
        raise UsageError(f"{name} is given {len(values)} times")
    return values[0]


def _number(name: str, one: Mapping[str, str], default: int) -> int:
    text = one.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise UsageError(f"{name} {text[:40]!r} is not a number")
    return int(text)
