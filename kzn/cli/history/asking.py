"""What asks about past traffic: a server, the files of a history, or an engine."""

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from kzn.client.find import ServerOptions
    from kzn.history.query import TrafficQuery

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class HistoryPlace:
    """Where past traffic is if no server is asked: a directory, or the URL of an engine."""

    directory: Path | None = None
    store: str | None = None

    @property
    def is_of_server(self) -> bool:
        """Whether a server is to be asked."""
        return self.directory is None and self.store is None


def history_options(command: _F) -> _F:
    """``--history`` and ``--history-store`` as one argument ``history``: `HistoryPlace`."""

    @functools.wraps(command)
    def with_place(*, history: Path | None, history_store: str | None, **others: Any) -> Any:
        if history is not None and history_store is not None:
            raise click.UsageError("--history and --history-store exclude each other")
        return command(history=HistoryPlace(history, history_store), **others)

    # Not from the environment: KZN_HISTORY and KZN_HISTORY_STORE are the server's.
    for option in (
        click.option(
            "--history-store",
            metavar="URL",
            allow_from_autoenv=False,
            help="Ask this engine instead of a server, as clickhouse://HOST/DATABASE.",
        ),
        click.option(
            "--history",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            allow_from_autoenv=False,
            help="Ask these files instead of a server; one may be writing them.",
        ),
    ):
        with_place = option(with_place)
    return with_place  # type: ignore[return-value]  # with other parameters


def asker(
    history: HistoryPlace, server: "ServerOptions", read: Callable[[Any], _T]
) -> Callable[["TrafficQuery"], _T]:
    """A function that asks a query; ``read`` makes a value of the JSON of an answer.

    Costs are in the answers of servers alone: files and engines know no prices.
    """
    if history.store is not None:
        return _engine(history.store, read)
    if history.directory is not None:
        return _files(history.directory, read)
    from kzn.client.traffic import to_parameters

    client = server.client()
    return lambda query: client.fetch("traffic", read, to_parameters(query))


def _files(directory: Path, read: Callable[[Any], _T]) -> Callable[["TrafficQuery"], _T]:
    from kzn.history.processes.writer_process import check_installed

    check_installed()
    from kzn.history.reader import Reader

    reader = Reader(directory)
    click.get_current_context().call_on_close(reader.close)
    return lambda query: read(reader.ask(query).to_json())


def _engine(url: str, read: Callable[[Any], _T]) -> Callable[["TrafficQuery"], _T]:
    from kzn.sinks.registry import open_store
    from kzn.sinks.target import parse_target

    store, runner = open_store(parse_target(url)), asyncio.Runner()

    def close() -> None:
        with runner:
            runner.run(store.close())

    click.get_current_context().call_on_close(close)
    return lambda query: read(runner.run(store.ask(query)).to_json())
