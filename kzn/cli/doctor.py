"""``kzn doctor``: what works on this node, what does not, and how to fix it."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kzn.cli.params import json_option, pin_dir_option
from kzn.errors import EXIT_OK, EXIT_UNSUPPORTED

if TYPE_CHECKING:
    from kzn.agent.doctor.finding import Finding

STYLES = {"ok": "green", "warn": "yellow", "fail": "red", "unknown": "cyan"}


@click.command()
@pin_dir_option
@click.option(
    "--probe",
    default="auto",
    show_default=True,
    metavar="auto|NAME",
    help="Probe to examine, as for kzn agent.",
)
@click.option(
    "--no-proof", is_flag=True, help="Skip the self-test: attach nothing and send nothing."
)
@json_option
def doctor(*, pin_dir: Path, probe: str, no_proof: bool, as_json: bool) -> int:
    """Each requirement of kzn agent is one finding: ok, warn, fail or unknown.

    As root it also proves that packets are counted: it attaches the programs for a moment,
    unpinned, and sends one UDP datagram of each IP version to the default route, with a hop
    limit of 1.

    Exit code: 0 if nothing fails, 3 if this machine cannot run kzn agent as it is.
    """
    from kzn.agent.doctor.examine import Examination, examine

    if not as_json:  # fails before the proof if it is not installed
        import rich.table  # noqa: F401
    logging.getLogger("kzn").addHandler(logging.NullHandler())  # findings replace log lines
    findings = examine(Examination(pin_dir, probe, proof=not no_proof))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        _show(findings)
    return EXIT_UNSUPPORTED if any(f.state == "fail" for f in findings) else EXIT_OK


def _show(findings: "list[Finding]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", "finding", box=None, pad_edge=False, show_header=False)
    for finding in findings:
        words = Text(finding.message)
        if finding.hint and finding.state != "ok":
            words.append(f"\nto do: {finding.hint}", style="bold")
        table.add_row(finding.name, Text(finding.state, STYLES[finding.state]), words)
    console = Console(highlight=False)
    console.print(table)
    console.print(Text(verdict(findings)))


def verdict(findings: "list[Finding]") -> str:
    """The last line: how many findings of each state, and what that means."""
    numbers = {state: sum(f.state == state for f in findings) for state in STYLES}
    counted = ", ".join(f"{number} {state}" for state, number in numbers.items() if number)
    if numbers["fail"]:
        return f"{counted}: kzn agent cannot count here as it is"
    if numbers["warn"]:
        return f"{counted}: kzn agent can count here; see the warnings for what it misses"
    return f"{counted}: kzn agent can count here"
