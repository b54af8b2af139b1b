"""The commands on this kernel: `kzn probes`, and what `--probe auto` chooses and counts."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import site_of_a1 as sites
from cells import LACKS, PROBES
from matrix import REFUSED
from site_of_a1 import Site
from test_auto import answering, clsact_qdisc

from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab

BEST, *OTHERS = (probe for probe in PROBES if probe not in REFUSED)
WHY = r"it saw \d+% of the bytes" if OTHERS else "it is the only one that can run here"
"""Not always 100 %: hook and uplink counters are read one after the other, under traffic."""


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Node a1, with an address for a server."""
    with sites.made(lab, "commands") as site:
        yield site


def test_kzn_probes_lists_supported_and_unsupported_probes_of_this_kernel() -> None:
    command = [sys.executable, "-m", "kzn.cli.main", "probes", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert {name: rows[name]["supported"] for name in PROBES} == {
        name: name not in REFUSED for name in PROBES
    }
    for name, words in REFUSED.items():
        assert words in rows[name]["reason"]
        assert ".".join(map(str, LACKS[name][0])) in rows[name]["hint"]


def test_auto_chooses_the_first_supported_probe_and_counts_every_byte(
    site: Site, cell: dict[str, Any]
) -> None:
    cell |= {"probe": "auto", "takes": "nothing"}
    server = site.server()
    with clsact_qdisc(site):
        with answering(site.lab) as answered:
            assert wait_for(lambda: answered() > 500, sites.WAIT)
            agent = site.agent("--probe", "auto")
        [choice] = re.findall(r"probe (\w+: .*)", agent.stderr)
        assert re.match(f"{BEST}: {WHY}", choice), choice
        for name, words in REFUSED.items():
            assert f"not {name}: {words}" in choice
        hook = "ipv4" if BEST == "postrouting" else site.lab.node("a1").uplink
        metric = f'kzn_agent_hook_attached{{hook="{hook}",probe="{BEST}"}}'
        assert wait_for(lambda: agent.metric(metric) == 1, sites.WAIT)
        sent = site.send(500)
        assert server.gets(site.key, sent), (server.has(site.key), sent)
    cell |= {"takes": BEST, "result": "exact", "packets": sent.packets, "bytes": sent.bytes}


def test_the_agent_counts_every_byte_with_each_supported_probe(site: Site) -> None:
    server = site.server()
    for name in (probe for probe in PROBES if probe not in REFUSED):
        agent = site.agent("--probe", name)
        before, sent = server.has(site.key), site.send(500)
        assert server.gets(site.key, before.plus(sent)), (name, server.has(site.key), sent)
        agent.stop()
        assert site.kzn("detach", "--pin-dir", str(site.pin_dir)).returncode == 0
