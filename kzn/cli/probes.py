"""``kzn probes``: the installed probes, and whether this kernel can run each."""

import json
from pathlib import Path

import click


@click.command(short_help="Installed probes, and whether this kernel can run each.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout.")
@click.option(
    "--headers",
    "headers_only",
    is_flag=True,
    help="Only say in which folder the C headers for probes of one's own lie.",
)
@click.option(
    "--pin-dir",
    type=click.Path(path_type=Path),
    default=Path("/sys/fs/bpf/kzn"),
    show_default=True,
    help="Where an agent would pin its maps: auto keeps what is there and counts.",
)
def probes(*, as_json: bool, headers_only: bool, pin_dir: Path) -> None:
    """List the installed probes, whether this kernel can run each, and which one auto would take.

    As root every object is loaded for a moment, so that the answer is the kernel's own; nothing
    is attached.
    """
    if headers_only:
        from kzn.probes.headers import headers

        click.echo(headers())
        return
    from kzn.agent.select.preview import preview_auto
    from kzn.plugins import BrokenPlugin
    from kzn.probes.registry import AUTO, candidates, installed
    from kzn.probes.support import Support, examine

    rows, found_probes = [], installed()
    for probe in found_probes:
        if isinstance(probe, BrokenPlugin):
            found, summary = Support(supported=False, reason=f"broken: {probe.reason}"), ""
        else:
            found, summary = examine(probe), probe.summary
        rows.append(
            {
                "name": probe.name,
                "supported": found.supported,
                "reason": found.reason,
                "hint": found.hint,
                "summary": summary,
            }
        )
    willing = candidates(AUTO, found_probes)
    loads = {row["name"] for row in rows if row["supported"]}
    chosen, why = preview_auto([p for p in willing if p.name in loads] or willing, pin_dir)
    for row in rows:
        row["auto"] = why if chosen and row["name"] == chosen.name else ""
    if as_json:
        click.echo(json.dumps(rows))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("probe", "supported", "reason", "for", box=None, pad_edge=False)
    for row in rows:
        reason = "\n".join(filter(None, [str(row["reason"]), str(row["hint"])]))
        answer = "[green]yes[/]" if row["supported"] else "[red]no[/]"
        table.add_row(escape(str(row["name"])), answer, escape(reason), escape(str(row["summary"])))
    Console().print(table)
    Console().print(
        f"auto: {chosen.name if chosen else 'none'}: {why}", markup=False, highlight=False
    )
