"""``kzn probes``: the installed probes, and whether this kernel can run each."""

import json
from pathlib import Path

import click

from kzn.cli.params import json_option, pin_dir_option


@click.command()
@json_option
@click.option(
    "--headers",
    "headers_only",
    is_flag=True,
    help="Print only the directory of the C headers, for building a probe.",
)
@pin_dir_option
def probes(*, as_json: bool, headers_only: bool, pin_dir: Path) -> None:
    """The last line names the probe that kzn agent --probe auto would attach.

    As root, each probe is loaded for a moment, so that the kernel itself decides; nothing is
    attached.
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
