"""``kzn demo``: three zones on this machine, real packets, the real hook, counts compared."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click
from rich.live import Live

from kzn.demo import view
from kzn.demo.run import DemoConfig, Progress, ShowProgress, run_demo
from kzn.errors import EXIT_FAULT, EXIT_OK


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, max=86400),
    default=10.0,
    show_default=True,
    help="Time to send, in seconds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
@click.option(
    "--serve",
    is_flag=True,
    help="Send until Ctrl-C and serve the page and the metrics on this machine.",
)
@click.option(
    "--provider",
    type=click.Choice(["aws", "gcp", "azure", "none"]),
    default="aws",
    show_default=True,
    help="With --serve: the cloud whose prices the page shows.",
)
@click.option(
    "--mtu",
    type=click.IntRange(min=1280, max=20000),
    default=1500,
    show_default=True,
    help="MTU of all interfaces.",
)
def demo(*, seconds: float, as_json: bool, serve: bool, provider: str, mtu: int) -> int:
    """It makes three zones of network namespaces, in which the workloads of a small shop send each
    other real packets, and compares the counts of kzn with those of the interfaces. After a minute
    one workload moves to other zones, as in a rollout.

    Needs root. It removes everything that it made. Exit code: 0 only if kzn counted every byte
    that the uplinks carried.
    """
    _exit_on_signals()
    config = DemoConfig(
        seconds=None if serve else seconds,
        mtu=mtu,
        history=serve,
        provider=provider if serve and provider != "none" else "",
    )
    found = run_demo(config, _Show(live=not as_json))
    if as_json:
        click.echo(json.dumps(found.as_json()))
    else:
        view.console().print(view.report(found))
    return EXIT_OK if found.exact else EXIT_FAULT


class _Show:
    """Progress on stderr, and a live table where stdout is a terminal."""

    def __init__(self, *, live: bool) -> None:
        self._live = live and sys.stdout.isatty()

    def say(self, line: str) -> None:
        click.echo(line, err=True)

    @contextmanager
    def live(self, seconds: float | None) -> Iterator[ShowProgress | None]:
        if not self._live:
            yield None
            return
        with Live(console=view.console(), transient=True, auto_refresh=False) as screen:

            def show(progress: Progress) -> None:
                screen.update(view.live(progress.rows, progress.elapsed, seconds), refresh=True)

            yield show


def _exit_on_signals() -> None:
    """SIGTERM and SIGINT end the demo, and it removes what it made.

    SIGINT too: a shell without job control starts what is in the background with SIGINT ignored.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.default_int_handler)
