"""`kzn inspect-map` on a real node: names, filters, raw entries, --watch until Ctrl-C."""

import json
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from fcntl import ioctl
from typing import Any

import pytest
import site_of_a1 as sites
from site_of_a1 import SERVER_PORT, Site

from kzn.lab import traffic
from kzn.lab.daemons import KZN
from kzn.lab.lab import Lab
from kzn.model.totals import Counts

LAST = 30.0


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Node a1 with an agent without a server, so its counts stay in the maps."""
    with sites.made(lab, "inspect") as site:
        site.agent("--interval", "60s")
        yield site


def send(site: Site) -> dict[str, Counts]:
    """Send one flow of each family; their packets and bytes by family."""
    a, b = site.lab.pod("a1-p1"), site.lab.pod("b1-p1")
    [six] = traffic.udp(a, b, 6, datagrams=9, size=200, mtu=1500, port=5301)
    assert six.wire is not None
    return {"ipv4": site.send(20), "ipv6": six.wire}


def look(site: Site, *options: str) -> list[dict[str, Any]]:
    """The flows of `inspect-map --json`."""
    done = site.kzn("inspect-map", "--json", "--pin-dir", str(site.pin_dir), *options)
    assert (done.returncode, done.stderr) == (0, "")
    [found] = json.loads(done.stdout)
    return list(found["flows"])


def counts(flow: dict[str, Any]) -> Counts:
    return Counts(flow["packets"], flow["bytes"])


def test_filters_and_sort_order(site: Site) -> None:
    sent = send(site)
    [six] = look(site, "--filter", "src=fd00::/8")
    assert (counts(six), six["dst_port"]) == (sent["ipv6"], 5301)
    [four] = look(site, "--filter", "udp", "--filter", "!5301")
    assert counts(four) == sent["ipv4"]
    by_source = look(site, "--sort", "source", "--filter", "udp")
    assert [flow["src"] for flow in by_source] == [four["src"], six["src"]]
    by_packets = look(site, "--sort", "packets", "--filter", "udp")
    assert [flow["packets"] for flow in by_packets] == [20, 9]
    assert look(site, "--filter", "10.99.0.0/16") == []


def test_raw_entries_add_up_to_the_decoded_flow(site: Site) -> None:
    cpus, sent = os.sched_getaffinity(0), Counts()
    try:
        for cpu in cpus:
            os.sched_setaffinity(0, {cpu})
            sent = sent.plus(site.send(10))
    finally:
        os.sched_setaffinity(0, cpus)
    [four] = look(site, "--raw", "--filter", "udp", "--filter", "10.0.0.0/8")
    [raw] = four["raw"]
    key = bytes.fromhex(raw["key"])
    a, b = site.lab.pod("a1-p1"), site.lab.pod("b1-p1")
    assert [".".join(map(str, key[at : at + 4])) for at in (12, 28)] == [a.ipv4, b.ipv4]
    assert (int.from_bytes(key[32:34], "little"), key[34]) == (5300, 17)
    total = Counts()
    for cpu in raw["per_cpu"]:
        assert struct.unpack("<QQ", bytes.fromhex(cpu["value"])) == (cpu["packets"], cpu["bytes"])
        total = total.plus(Counts(cpu["packets"], cpu["bytes"]))
    assert total == sent
    assert {cpu["cpu"] for cpu in raw["per_cpu"]} == cpus


def test_names_come_from_the_server_only_with_url(site: Site) -> None:
    send(site)
    site.server()
    url = f"http://{site.lab.fabric.ipv4}:{SERVER_PORT}"
    four = look(site, "--url", url, "--filter", "dst=5300")[0]
    assert (four["src_owner"]["name"], four["src_owner"]["zone"]) == ("a1-p1", "zone-a")
    assert (four["dst_owner"]["name"], four["dst_owner"]["zone"]) == ("b1-p1", "zone-b")
    prefix = ("env", "COLUMNS=100", "KZN_SERVER=10.0.0.1:7070")
    pins = ("--pin-dir", str(site.pin_dir), "--filter", "udp")
    table = site.kzn("inspect-map", *pins, "--url", url, prefix=prefix).stdout
    assert "demo/a1-p1  demo/b1-p1   zone-a>zone-b  udp" in table
    plain = site.kzn("inspect-map", *pins, prefix=prefix)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert site.lab.pod("a1-p1").ipv4 in plain.stdout


def test_a_server_that_does_not_answer_is_an_error_without_traceback(site: Site) -> None:
    send(site)
    pins = ("--pin-dir", str(site.pin_dir))
    done = site.kzn("inspect-map", *pins, "--url", "http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("kzn: http://127.0.0.1:1: ")


def command(site: Site, *options: str) -> list[str]:
    node = site.lab.node("a1").namespace
    return site.lab.command(
        node, [*KZN, "inspect-map", "--watch", "--pin-dir", str(site.pin_dir), *options]
    )


def test_watch_as_json_prints_one_line_a_snapshot_and_ctrl_c_is_quiet(site: Site) -> None:
    before = site.send(20)
    with subprocess.Popen(
        command(site, "--json", "--filter", "udp"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        first = json.loads(watching.stdout.readline())
        after = site.send(50)
        looks = [json.loads(watching.stdout.readline()) for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(LAST) == 130
        assert watching.stderr.read().strip() == ""
    assert counts(first[0]["flows"][0]) == before
    assert counts(looks[-1][0]["flows"][0]) == before.plus(after)
    rates = [found[0]["flows"][0]["bytes_per_second"] for found in looks]
    assert 0 < max(rates) <= after.bytes / 0.9


def test_watch_on_a_terminal_redraws_and_restores_the_screen(site: Site) -> None:
    site.send(20)
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    watching = subprocess.Popen(
        command(site),
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=environment | {"TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    while site.lab.pod("b1-p1").ipv4.encode() not in shown:
        shown += os.read(ours, 4096)
    watching.send_signal(signal.SIGINT)
    shown += b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    with watching:
        assert watching.wait(LAST) == 130
        assert watching.stderr is not None
        assert watching.stderr.read().strip() == b""
    assert b"\x1b[?1049h" in shown
    assert shown.rindex(b"\x1b[?1049l") > shown.rindex(b"\x1b[?1049h")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # EIO: the other end is closed
        return b""
