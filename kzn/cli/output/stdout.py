"""Errors of standard output as `OutputError`, whichever library writes to it."""

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


class OutputError(OSError):
    """Writing to standard output failed; an OSError, since libraries that write expect one."""

    def __str__(self) -> str:
        return f"write to standard output: {self.strerror}"


class _Output(io.FileIO):
    def write(self, data: "Buffer", /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from error


def guard() -> None:
    """Make ``sys.stdout`` raise OutputError; if it is closed, discard what is written."""
    was = sys.stdout
    if was is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for good
    elif isinstance(was, io.TextIOWrapper):
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Output(was.fileno(), "w", closefd=False)),
            encoding=was.encoding,
            errors=was.errors,
            line_buffering=was.line_buffering or was.write_through,
        )


def discard() -> None:
    """Discard buffered output after an error, so that it does not raise again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
