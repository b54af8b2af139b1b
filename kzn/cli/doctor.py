"""``kzn doctor``: what works on this node, what does not, and what to do about it."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kzn.errors import EXIT_OK, EXIT_UNSUPPORTED

if TYPE_CHECKING:
    from kzn.agent.doctor.finding import Finding

STYLES = {"ok": "green", "warn": "yellow", "fail": "red", "unknown": "cyan"}


@click.command(short_help="What works on this node, and what to do.")
@click.option(
    "--pin-dir",
    type=click.Path(path_type=Path, readable=False),
    default=Path("/sys/fs/bpf/kzn"),
    show_default=True,
    help="Where an agent would pin its maps.",
)
@click.option("--probe", default="auto", show_default=True, help="Which probe would be attached.")
@click.option(
    "--no-proof", is_flag=True, help="Attach nothing and send nothing, not even for a moment."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON list of findings on stdout.")
def doctor(*, pin_dir: Path, probe: str, no_proof: bool, as_json: bool) -> int:
    """Ask this node for everything that kzn agent needs, and prove that packets are counted.

    The proof, as root only: the programs are attached for a moment, unpinned, and one UDP datagram
    goes from each family's own address towards the default route, with a hop limit of 1.

    Ends with 0 when nothing fails, with 3 when this machine cannot run the agent as it is.
    """
    from kzn.agent.doctor.examine import Examination, examine

    if not as_json:  # found out before the proof when it is not installed
        import rich.table  # noqa: F401
    logging.getLogger("kzn").addHandler(logging.NullHandler())  # what matters is a finding
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
    """The last line: how many of each, and what that means."""
    numbers = {state: sum(f.state == state for f in findings) for state in STYLES}
    counted = ", ".join(f"{number} {state}" for state, number in numbers.items() if number)
    if numbers["fail"]:
        return f"{counted}: kzn agent cannot count here as it is"
    if numbers["warn"]:
        return f"{counted}: kzn agent can count here; what it cannot see is said above"
    return f"{counted}: kzn agent can count here"
