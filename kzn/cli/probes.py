"""``kzn probes``: the installed probes, and whether this kernel can run each."""

import json

import click


@click.command(short_help="Installed probes, and whether this kernel can run each.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout.")
@click.option(
    "--headers",
    "headers_only",
    is_flag=True,
    help="Only say in which folder the C headers for probes of one's own lie.",
)
def probes(*, as_json: bool, headers_only: bool) -> None:
    """List the installed probes and whether this kernel can run each.

    As root every object is loaded for a moment, so that the answer is the kernel's own; nothing
    is attached.
    """
    if headers_only:
        from kzn.probes.headers import headers

        click.echo(headers())
        return
    from kzn.probes.registry import BrokenProbe, installed
    from kzn.probes.support import Support, examine

    rows = []
    for probe in installed():
        if isinstance(probe, BrokenProbe):
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
