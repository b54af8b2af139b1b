"""Words that options take: durations, addresses, log levels."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kzn.daemon.listen import HostPort, parse_host_port
from kzn.daemon.logs import LEVELS
from kzn.errors import UsageError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|s|m|h|d)"
_DURATION = re.compile(rf"(?:{_PART})+")
_PIECE = re.compile(r"([0-9.]+)(ms|s|m|h|d)")

if TYPE_CHECKING:
    _FloatType = click.ParamType[float]
    _AddressType = click.ParamType[HostPort]
else:  # generic only in later releases of click than the oldest that will do
    _FloatType = _AddressType = click.ParamType


class Duration(_FloatType):
    """``10s``, ``500ms``, ``1m30s`` as seconds; more than none."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds; a usage error of click when ``value`` is no duration."""
        if isinstance(value, (int, float)):
            return float(value)
        text = str(value).strip()
        if not _DURATION.fullmatch(text):
            self.fail(f"{text!r} is no duration; write 10s, 500ms or 1m30s", param, ctx)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(text))
        if seconds <= 0:
            self.fail(f"{text!r} is no time at all", param, ctx)
        return seconds


class AddressType(_AddressType):
    """HOST:PORT, [IPv6]:PORT and, to listen on all addresses, :PORT."""

    name = "address"

    def __init__(self, *, remote: bool = False) -> None:
        self._remote = remote

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> HostPort:
        """The address; a usage error of click when ``value`` is none, or none to connect to."""
        if isinstance(value, HostPort):
            return value
        try:
            address = parse_host_port(str(value))
        except UsageError as error:
            self.fail(f"{error.message}; {error.hint}", param, ctx)
        if self._remote and not (address.host and address.port):
            self.fail(f"{str(value)!r} is no address to connect to; write HOST:PORT", param, ctx)
        return address


DURATION = Duration()
ADDRESS = AddressType()
"""Where to listen."""
REMOTE_ADDRESS = AddressType(remote=True)
"""Where to connect to: host and port must be there."""
FILE = click.Path(path_type=Path, dir_okay=False)
"""A file that the command reads; whether it can is said by who reads it."""
LOG_LEVEL = click.Choice(LEVELS, case_sensitive=False)
