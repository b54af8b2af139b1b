"""The command ``kzn``: finds a subcommand by its name, and turns every error into a sentence.

Each option may come from the environment as well: ``--max-flows`` is ``KZN_MAX_FLOWS``, whatever
the command, so that one environment serves the agent and a command started beside it.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from kzn import __version__
from kzn.cli import stdout
from kzn.errors import EXIT_FAULT, EXIT_OK, KznError, UnsupportedError

ENVIRONMENT = "KZN"
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Subcommand:
    """Where a command is, its line in ``kzn --help``, and the extra of the package it needs."""

    target: str
    help: str
    extra: str


SUBCOMMANDS = {
    "agent": Subcommand(
        "kzn.cli.agent:agent", "Count what leaves this node and ship it to a server.", "agent"
    ),
    "server": Subcommand(
        "kzn.cli.server:server", "Say whose traffic it is and show it as metrics.", "server"
    ),
    "inspect-map": Subcommand(
        "kzn.cli.inspect_map:inspect_map", "Show this node's live counters.", "agent,tools"
    ),
    "probes": Subcommand(
        "kzn.cli.probes:probes",
        "Show what can be attached, and whether it runs here.",
        "agent,tools",
    ),
    "doctor": Subcommand(
        "kzn.cli.doctor:doctor", "Say what works on this node, and what to do.", "agent,tools"
    ),
    "top": Subcommand("kzn.cli.top:top", "Watch what crosses zones, live.", "tools"),
    "demo": Subcommand(
        "kzn.cli.demo:demo", "Two zones on this machine: real packets, real hook, proof.", "demo"
    ),
    "detach": Subcommand(
        "kzn.cli.detach:detach", "Remove all that kzn left in the kernel.", "agent"
    ),
}


class LazyGroup(click.Group):
    """Imports a subcommand when it is run or asked for its help, not to list it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a package that it imports only while it runs may be missing as well."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            name = ctx.invoked_subcommand or ""
            if name not in SUBCOMMANDS:
                raise
            raise _not_installed(name, SUBCOMMANDS[name].extra, error) from error

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names in the order of the table."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, None when there is none of that name."""
        subcommand = SUBCOMMANDS.get(cmd_name)
        return None if subcommand is None else load(cmd_name, subcommand)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of commands, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, sub.help) for name, sub in SUBCOMMANDS.items()])


def load(name: str, subcommand: Subcommand) -> click.Command:
    """Import a subcommand and open it to the environment.

    UnsupportedError when a package that it needs is not installed.
    """
    module, _, attribute = subcommand.target.partition(":")
    try:
        command: click.Command = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise _not_installed(name, subcommand.extra, error) from error
    for param in command.params:
        if isinstance(param, click.Option) and param.allow_from_autoenv:
            param.envvar = param.envvar or variable(param)
            param.show_envvar = True
    return command


def variable(option: click.Option) -> str:
    """The environment variable of an option, by its long name and not by that in the code."""
    name = max(option.opts, key=len).lstrip("-")
    return f"{ENVIRONMENT}_{name.replace('-', '_').upper()}"


def _not_installed(name: str, extra: str, error: ModuleNotFoundError) -> UnsupportedError:
    """What to install; a module of kzn itself that is missing is a defect and is raised."""
    missing = (error.name or "").partition(".")[0]
    if missing in ("kzn", ""):
        raise error
    return UnsupportedError(
        f"kzn {name} needs the Python package {missing}, which is not installed",
        hint=f"pip install 'kzn[{extra}]'",
    )


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kzn", message="%(prog)s %(version)s")
def cli() -> None:
    """Which Kubernetes workloads cause cross-zone traffic: counted in the kernel, to the byte."""


def main(args: Sequence[str] | None = None) -> None:
    """The entry point: run ``kzn`` with ``args`` (of the process when None) and exit.

    A command may return its exit code; None is 0.
    """
    # numpy's OpenBLAS keeps a thread and its memory for each core; nothing here multiplies
    # matrices. It reads this when it is imported, which no command has done yet.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    stdout.guard()
    code = run(args)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        stdout.forget()
    except stdout.OutputError as error:
        code = _output_ends(error)
    sys.exit(code)


def run(args: Sequence[str] | None = None) -> int:
    """Run ``kzn`` and return the exit code; errors have been told on stderr."""
    try:
        result: Any = cli.main(args=args, prog_name="kzn", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except KznError as error:
        return _tell(error)
    except (BrokenPipeError, stdout.OutputError) as error:
        return _output_ends(error)
    except BaseExceptionGroup as group:
        return _tell_all(group)
    return result if isinstance(result, int) else EXIT_OK


def _tell(error: KznError) -> int:
    click.echo(f"kzn: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
    return error.exit_code


def _tell_all(group: BaseExceptionGroup[BaseException]) -> int:
    """Errors out of a TaskGroup; anything but KznError in it is a defect and is raised."""
    known, defects = group.split(KznError)
    if defects is not None or known is None:
        raise group
    return max(_tell(error) for error in _leaves(known))


def _leaves(group: BaseExceptionGroup[KznError]) -> list[KznError]:
    found: list[KznError] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


def _output_ends(error: OSError) -> int:
    """A reader that went away knows that; a full disk is news."""
    stdout.forget()
    if isinstance(error, BrokenPipeError):
        return EXIT_FAULT
    return _tell(KznError(str(error), hint="is there room where standard output goes to?"))


if __name__ == "__main__":
    main()
