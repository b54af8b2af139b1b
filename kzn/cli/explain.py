"""``kzn explain``: why a server gives a packet its verdict, in some ten lines."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from kzn.cli.params import server_options

if TYPE_CHECKING:
    from kzn.client.api import AddressOwner
    from kzn.client.explain import ExplainedEnd, Explanation, OwnerInterval
    from kzn.client.find import ServerOptions

_WIDTH = 100
_INDENT = 13


@click.command()
@click.argument("src")
@click.argument("dst")
@click.option(
    "--node",
    metavar="NODE",
    allow_from_autoenv=False,  # KZN_NODE is the node of an agent
    help="Node that saw the packet.  [default: the node that counts it]",
)
@click.option(
    "--at",
    metavar="TIME",
    allow_from_autoenv=False,
    help="When: how long ago (10m, 1h30m) or RFC 3339.  [default: now]",
)
@click.option(
    "--via",
    metavar="ADDRESS",
    allow_from_autoenv=False,
    help="Outer destination, if the node sent the packet in a tunnel (`via` in the flow log).",
)
@server_options()
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout instead of text.")
def explain(
    *,
    src: str,
    dst: str,
    node: str | None,
    at: str | None,
    via: str | None,
    server: "ServerOptions",
    as_json: bool,
) -> None:
    """SRC and DST are IP addresses. Shows their owners and since when, the verdict and why.

    For an unresolved packet it shows what is missing and what to do.
    """
    from kzn.client.explain import explain as ask
    from kzn.client.explain import parse_time

    if at:
        parse_time(at, time.time())  # the server's clock decides; this finds typing errors
    found = ask(server.client(), src, dst, node or "", at or "", via or "")
    click.echo(json.dumps(found.to_json()) if as_json else text_of(found))


def text_of(found: "Explanation") -> str:
    """An explanation as some ten lines for people."""
    ends = f"{found.src.owner.address} to {found.dst.owner.address}"
    lines = [
        f"{ends} at {found.time}, {_seen_on(found)}",
        "",
        f"verdict      {found.verdict}: {_outcome(found)}",
        *_end_lines("source", found.src),
        *_end_lines("destination", found.dst),
        *(_end_lines("via", found.via) if found.via else []),
        *_list("why", found.why),
        *_list("to do", found.advice),
    ]
    return "\n".join(lines)


_CHOSEN = {
    "query": "",
    "source": " (the source's, which counts it)",
    "destination": " (the destination's, which counts it)",
    "any": " (neither address has a node: any node may forward it)",
}


def _seen_on(found: "Explanation") -> str:
    if not found.node:
        return "without any node: the topology is empty"
    return f"as seen on node {found.node}{_CHOSEN.get(found.node_chosen_by, '')}"


def _outcome(found: "Explanation") -> str:
    retried = ", after two retries" if found.retried else ""
    if found.class_:
        owner = found.charged_to or found.src.owner.label or "no workload"
        return f"counted{retried}, charged to {owner}"
    if found.reason:
        return f"counted as unresolved{retried}"
    return f"not counted for node {found.node}"


def _end_lines(title: str, end: "ExplainedEnd") -> list[str]:
    first = f"{title:<{_INDENT}}{end.owner.address}  {_described(end.owner)}"
    return [first, *(f"{'':<{_INDENT}}{_interval(found, end.owner)}" for found in end.history)]


def _described(owner: "AddressOwner") -> str:
    words = [owner.owner] if not owner.label else [owner.owner, owner.label]
    if owner.workload and owner.workload != owner.name:
        words.append(f"({owner.workload_kind} {owner.workload})")
    places = (("node", owner.node), ("zone", owner.zone), ("region", owner.region))
    where = [f"{key} {value}" for key, value in places if value and value != owner.label]
    if owner.known_by == "agent":
        where.append("an address that the node's agent told")
    return " ".join(words) + (", " + ", ".join(where) if where else "")


def _interval(found: "OwnerInterval", current: "AddressOwner") -> str:
    times = f"since {found.since}" if found.since else "since an unknown time"
    if found.until:
        times = f"from {found.since or 'an unknown time'} until {found.until}"
    if found.deleting_since:
        times += f", being deleted since {found.deleting_since}"
    if found.owner == replace(current, known_by=""):
        return times
    return f"{found.owner.owner} {found.owner.label} {times}"


def _list(title: str, sentences: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for sentence in sentences:
        start = f"{'' if lines else title:<{_INDENT}}"
        lines += wrap(sentence, _WIDTH, initial_indent=start, subsequent_indent=" " * _INDENT)
    return lines
