"""The command ``kzn``: finds a subcommand by name and prints errors as one sentence and a hint.

Every option can be set by an environment variable: ``--max-flows`` is ``KZN_MAX_FLOWS`` for every
command, so that one environment serves the agent and a command started beside it.
"""

import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from kzn import __version__
from kzn.cli.output import stdout
from kzn.errors import EXIT_FAULT, EXIT_OK, KznError, UnsupportedError

ENVIRONMENT = "KZN"
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Subcommand:
    """Module and name of a command, its summary in both helps, and the extra that it needs."""

    target: str
    summary: str
    extra: str


SUBCOMMANDS = {
    "agent": Subcommand(
        "kzn.cli.agent:agent", "Count this node's traffic and ship it to a server.", "agent"
    ),
    "server": Subcommand(
        "kzn.cli.server:server", "Resolve traffic to workloads and zones; serve metrics.", "server"
    ),
    "inspect-map": Subcommand(
        "kzn.cli.inspect_map:inspect_map", "Show this node's live counters.", "agent,tools"
    ),
    "probes": Subcommand(
        "kzn.cli.probes:probes",
        "List the eBPF probes and whether this kernel can run them.",
        "agent,tools",
    ),
    "doctor": Subcommand(
        "kzn.cli.doctor:doctor", "Check this node and explain what to fix.", "agent,tools"
    ),
    "flows": Subcommand(
        "kzn.cli.history.flows:flows", "Show what was sent in a span of the past.", "tools"
    ),
    "explain": Subcommand(
        "kzn.cli.explain:explain", "Explain the verdict on a packet between two addresses.", "tools"
    ),
    "opencost": Subcommand(
        "kzn.cli.open:opencost", "Serve a server's counters to OpenCost's collector.", "tools"
    ),
    "prices": Subcommand(
        "kzn.cli.prices:prices", "Show what traffic costs, and import price lists.", "server"
    ),
    "report": Subcommand(
        "kzn.cli.history.report:report", "Report what a month cost, and whom.", "tools"
    ),
    "diff": Subcommand(
        "kzn.cli.history.diff:diff", "Compare two spans: load and crossing.", "tools"
    ),
    "advise": Subcommand(
        "kzn.cli.history.advise:advise", "Say what would end traffic between zones.", "tools"
    ),
    "open": Subcommand("kzn.cli.open:open_page", "Open the page of a server.", "tools"),
    "top": Subcommand("kzn.cli.top:top", "Watch cross-zone traffic live.", "tools"),
    "demo": Subcommand(
        "kzn.cli.demo:demo", "Try kzn on this machine and verify its counts.", "demo"
    ),
    "detach": Subcommand(
        "kzn.cli.detach:detach", "Remove everything kzn left in this node's kernel.", "agent"
    ),
}


class LazyGroup(click.Group):
    """Imports a subcommand to run it or to show its help, not to list it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. A package that it imports while it runs may be missing, too."""
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
        """The command of that name, or None."""
        subcommand = SUBCOMMANDS.get(cmd_name)
        return None if subcommand is None else load(cmd_name, subcommand)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of commands, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, sub.summary) for name, sub in SUBCOMMANDS.items()])


def load(name: str, subcommand: Subcommand) -> click.Command:
    """Import a subcommand; its summary begins its help, its options get environment variables.

    UnsupportedError if a package that it needs is not installed.
    """
    module, _, attribute = subcommand.target.partition(":")
    try:
        command: click.Command = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise _not_installed(name, subcommand.extra, error) from error
    details = command.callback.__doc__ or ""
    command.help = f"{subcommand.summary}\n\n{inspect.cleandoc(details)}"
    for param in command.params:
        if isinstance(param, click.Option) and param.allow_from_autoenv:
            param.envvar = param.envvar or variable(param)
            param.show_envvar = True
    return command


def variable(option: click.Option) -> str:
    """The environment variable of an option: its long name, not the name in the code."""
    name = max(option.opts, key=len).lstrip("-")
    return f"{ENVIRONMENT}_{name.replace('-', '_').upper()}"


def _not_installed(name: str, extra: str, error: ModuleNotFoundError) -> UnsupportedError:
    """An error that names the extra to install. A missing module of kzn is raised again."""
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
    """Find out which Kubernetes workloads cause traffic between availability zones.

    kzn agent runs on every node and counts packets in the kernel (eBPF). kzn server runs once in
    a cluster: it resolves addresses to pods, workloads and zones, and serves Prometheus metrics.
    The other commands look at one of the two. Try it without a cluster: kzn demo (as root).

    \b
    Exit codes: 0 success, 1 failure, 2 usage error,
    3 not supported by this kernel or machine, 130 interrupted.
    """  # noqa: D301 - \b stops click from wrapping the lines that follow


def main(args: Sequence[str] | None = None) -> None:
    """The entry point: run ``kzn`` with ``args`` (None: those of the process) and exit.

    A command may return its exit code; None is 0.
    """
    # numpy's OpenBLAS keeps a thread and its memory for each core, for products of matrices, which
    # kzn does not use. It reads the variable on import, and no command has imported it yet.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    stdout.guard()
    code = run(args)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        stdout.discard()
    except stdout.OutputError as error:
        code = _output_failed(error)
    sys.exit(code)


def run(args: Sequence[str] | None = None) -> int:
    """Run ``kzn``, print errors on stderr and return the exit code."""
    try:
        result: Any = cli.main(args=args, prog_name="kzn", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except KznError as error:
        return _report(error)
    except (BrokenPipeError, stdout.OutputError) as error:
        return _output_failed(error)
    except BaseExceptionGroup as group:
        return _report_all(group)
    return result if isinstance(result, int) else EXIT_OK


def _report(error: KznError) -> int:
    click.echo(f"kzn: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
    return error.exit_code


def _report_all(group: BaseExceptionGroup[BaseException]) -> int:
    """Errors of a TaskGroup. An error other than KznError is a defect: the group is raised."""
    known, defects = group.split(KznError)
    if defects is not None or known is None:
        raise group
    return max(_report(error) for error in _leaves(known))


def _leaves(group: BaseExceptionGroup[KznError]) -> list[KznError]:
    found: list[KznError] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


def _output_failed(error: OSError) -> int:
    """A closed pipe (`kzn probes | head`) is silent; other errors are reported."""
    stdout.discard()
    if isinstance(error, BrokenPipeError):
        return EXIT_FAULT
    return _report(KznError(str(error), hint="is the disk behind standard output full?"))


if __name__ == "__main__":
    main()
