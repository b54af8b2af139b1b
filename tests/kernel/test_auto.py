"""`--probe auto` on real packets: selects the probe that sees them, keeps it, and replaces it."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import site_of_a1 as sites
from bypass import By, host_routing
from site_of_a1 import Process, Site, wait_ready

from kzn.agent.devices.datapath import BRIDGE_SYSCTLS
from kzn.agent.maps.structs import boottime_ns
from kzn.agent.pins.notes import APART_SECONDS, LastTrial, Notes
from kzn.agent.select.takeover import MAX_RETIRED
from kzn.errors import KznError
from kzn.lab import namespaces, traffic
from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab
from kzn.lab.witness import WireKey
from kzn.libbpf import capabilities
from kzn.model.totals import Counts

UNCOUNTED = "kzn_agent_switch_uncounted_bytes_total "
POD = "pod1"
BATCHES = "kzn_server_batches_total "
HOOK = 'kzn_agent_hook_attached{hook="%s",probe="%s"}'
PATIENCE = 60.0
"""Six intervals of half a second make a ratio, five of them an end; looked for in ten seconds."""


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Node a1 and a place for a server."""
    with sites.made(lab, "auto") as site:
        yield site


def choice(agent: Process) -> str:
    """The line in which an agent logs which probe it selected."""
    [line] = re.findall(r"selected probe (\w+: .*)", agent.stderr)
    return str(line)


def coverage(agent: Process) -> float | None:
    """The metric; None while the agent does not expose it."""
    page = agent.daemon.page("/metrics")
    found = re.search(r"^kzn_agent_hook_coverage_ratio (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else None


def sees_all(agent: Process) -> bool:
    """Whether the coverage becomes 1, to a hundredth."""
    assert wait_for(lambda: coverage(agent) is not None, sites.WAIT)
    ratio = coverage(agent)
    return ratio is not None and abs(ratio - 1) < 0.01


def stop(agent: Process) -> None:
    assert agent.has_loop()
    agent.stop()


def pins(site: Site) -> list[str]:
    return sorted(path.name for path in site.pin_dir.iterdir())


def test_pods_that_bypass_netfilter_are_counted_at_the_uplink(site: Site, lab: Lab) -> None:
    server = site.server()
    with host_routing(lab, lab.node("a1")), site.busy() as sent:
        assert wait_for(lambda: sent().packets > 1000, sites.WAIT)
        agent = site.agent()
        assert choice(agent).startswith("tcx: it saw 1")
        assert re.search(r"not postrouting: it saw \d% of them", choice(agent))
        assert sees_all(agent)
        assert agent.metric(HOOK % (lab.node("a1").uplink, "tcx")) == 1
    assert pins(site) == ["tcx"]
    stop(agent)
    before = settled(server, site)
    with host_routing(lab, lab.node("a1")):
        site.agent()
        after = site.send(500)
        assert server.gets(site.key, before.plus(after))


def settled(server: sites.Served, site: Site) -> Counts:
    """The server's counts when the kernel's buffers are empty."""
    assert wait_for(lambda: site.left(site.key) == Counts(), sites.WAIT)
    return server.has(site.key)


def test_where_netfilter_sees_everything_postrouting_is_selected(site: Site) -> None:
    site.server()
    with site.busy() as sent:
        assert wait_for(lambda: sent().packets > 1000, sites.WAIT)
        agent = site.agent()
        assert choice(agent).startswith("postrouting: it saw 1")
        assert sees_all(agent)
    assert pins(site) == ["postrouting"]


def test_packets_to_pods_are_not_mistaken_for_packets_that_leave(site: Site, lab: Lab) -> None:
    """Pods receive through the stack and send past it: most packets of the node pass netfilter."""
    site.server()
    with host_routing(lab, lab.node("a1")), answering(lab) as answered:
        assert wait_for(lambda: answered() > 1000, sites.WAIT)
        agent = site.agent()
        assert choice(agent).startswith("tcx: it saw 1")
        assert re.search(r"not postrouting: it saw \d% of them", choice(agent))


PAUSE = 0.02
"""Seconds between bursts, in which an agent can start on an emulated processor."""


@contextmanager
def answering(lab: Lab) -> Iterator[Callable[[], int]]:
    """A pod of a1 answers requests until the body ends; yields a function that counts them."""
    ended, answered = threading.Event(), 0

    def work() -> None:
        nonlocal answered
        while not ended.wait(PAUSE):
            traffic.echo(lab.pod("b1-p1"), lab.pod("a1-p1"), 4, requests=64, size=800, mtu=1500)
            answered += 64

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            yield lambda: answered
        finally:
            ended.set()
        future.result()


def test_on_a_quiet_node_test_packets_decide(site: Site) -> None:
    site.server()
    agent = site.agent()
    assert choice(agent).startswith("postrouting: it saw the test packets")
    assert pins(site) == ["postrouting"]
    assert coverage(agent) is None


@pytest.mark.parametrize("by", ["tcx", "tc"])
def test_on_a_quiet_node_whose_pods_bypass_netfilter_nothing_is_missed(
    site: Site, lab: Lab, by: By
) -> None:
    """The test packets are the node's own and pass netfilter, so they prove nothing."""
    server = site.server()
    with host_routing(lab, lab.node("a1"), by):
        agent = site.agent()
        assert choice(agent).startswith("tcx: it saw the test packets")
        assert "; not postrouting: pods' packets may bypass netfilter: eBPF programs at" in choice(
            agent
        )
        sent = site.send(100)
        assert sent.packets == 100
        assert server.gets(site.key, sent)
    assert pins(site) == ["tcx"]


def test_a_pinned_probe_is_kept_only_while_no_fact_speaks_against_it(site: Site, lab: Lab) -> None:
    server = site.server()
    site.agent("--probe", "postrouting").kill()
    with host_routing(lab, lab.node("a1")):
        agent = site.agent()
        assert "pinned probe postrouting is tried anew beside the others" in agent.stderr
        assert choice(agent).startswith("tcx: it saw the test packets")
        sent = site.send(50)
        assert server.gets(site.key, sent), server.has(site.key)
    assert pins(site) == ["tcx"]


def test_a_filter_that_redirects_is_a_reason_for_tcx_and_one_that_shapes_is_none(
    site: Site, lab: Lab
) -> None:
    site.server()
    with redirected(lab, to=lab.node("a1").uplink):
        agent = site.agent()
        assert choice(agent).startswith("tcx: it saw the test packets")
        assert f"bypass netfilter: tc filters at pods' devices ({POD}) send them by" in choice(
            agent
        )
        stop(agent)
    assert site.kzn("detach", "--pin-dir", str(site.pin_dir)).returncode == 0
    lab.configure(lab.node("a1").namespace, ["link add kznifb type ifb"])
    try:
        with redirected(lab, to="kznifb"):
            assert choice(site.agent()).startswith("postrouting: it saw the test packets")
    finally:
        lab.configure(lab.node("a1").namespace, ["link del kznifb"])


@contextmanager
def redirected(lab: Lab, to: str) -> Iterator[None]:
    """What a pod of a1 sends is sent by another device, by a filter of tc without a program."""
    node = lab.node("a1").namespace
    run = f"filter add dev {POD} ingress protocol ip prio 7 u32 match u32 0 0"
    for command in (f"qdisc add dev {POD} clsact", f"{run} action mirred egress redirect dev {to}"):
        done = lab.run(node, ["tc", *command.split()])
        assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        lab.run(node, ["tc", "qdisc", "del", "dev", POD, "clsact"])


def test_traffic_of_the_node_itself_does_not_hide_that_pods_bypass_netfilter(
    site: Site, lab: Lab
) -> None:
    server = site.server()
    with host_routing(lab, lab.node("a1")):
        with downloading(lab) as sent:
            assert wait_for(lambda: sent() > 100, sites.WAIT)
            agent = site.agent()
        assert choice(agent).startswith("tcx: it saw 1")
        assert "; not postrouting: pods' packets may bypass netfilter" in choice(agent)
        assert server.gets(site.key, site.send(100))


@contextmanager
def downloading(lab: Lab, pause: float = 0.0005) -> Iterator[Callable[[], int]]:
    """Node a1 itself sends 1000-byte datagrams; yields a function that counts them."""
    ended, sent = threading.Event(), 0

    def work() -> None:
        nonlocal sent
        with namespaces.inside(lab.node("a1").namespace):
            out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with out:
            while not ended.wait(pause):
                out.sendto(bytes(1000), (lab.fabric.ipv4, 9))
                sent += 1

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            yield lambda: sent
        finally:
            ended.set()
        future.result()


def test_a_bridge_with_an_uplink_and_no_br_netfilter_is_a_reason_for_tcx(
    site: Site, lab: Lab
) -> None:
    """A pod's second interface is bridged to a device of the node, as Multus does it."""
    site.server()
    with bridged_uplink(lab):
        found = json.loads(site.kzn("doctor", "--no-proof", "--json").stdout)
        [finding] = [row for row in found if row["name"] == "bridges"]
        assert finding["state"] == "warn"
        assert finding["message"].startswith("what is bridged (kznbr to kznup) bypasses netfilter")
        agent = site.agent()
        assert "not postrouting: pods' packets bypass netfilter: bridge kznbr" in choice(agent)
        stop(agent)
        sysctls(lab, on=True)
        found = json.loads(site.kzn("doctor", "--no-proof", "--json").stdout)
        assert [row["state"] for row in found if row["name"] == "bridges"] == ["ok"]


@contextmanager
def bridged_uplink(lab: Lab) -> Iterator[None]:
    """A bridge on a1 of a device that leads off (a dummy end elsewhere) and a pod's."""
    node, pod = lab.node("a1").namespace, lab.pod("a1-p1").namespace
    sysctls(lab, on=False)
    lab.configure(
        node,
        [
            "link add kznbr type bridge",
            f"link add kznup type veth peer name kznup2 netns {lab.fabric.namespace}",
            "link set kznup master kznbr up",
            "addr add 10.97.0.1/24 dev kznup",  # a veth without one is a pod's
            f"link add kznpod type veth peer name net1 netns {pod}",
            "link set kznpod master kznbr up",
            "link set kznbr up",
        ],
    )
    try:
        yield
    finally:
        lab.configure(node, [f"link del {name}" for name in ("kznup", "kznpod", "kznbr")])
        sysctls(lab, on=True)


def sysctls(lab: Lab, *, on: bool) -> None:
    """Whether bridges of node a1 pass packets to netfilter."""
    with namespaces.inside(lab.node("a1").namespace):
        for name in BRIDGE_SYSCTLS:
            Path("/proc/sys/net/bridge", name).write_text(str(int(on)))


def test_a_restart_keeps_the_probe_that_counts(site: Site) -> None:
    server = site.server()
    agent = site.agent("--probe", "tcx")
    first = site.send(20)
    for _ in range(2):
        assert server.gets(site.key, first)
        agent.kill()
        agent = site.agent()
        assert choice(agent) == "tcx: already attached and healthy"
        first = first.plus(site.send(20))
    assert server.gets(site.key, first)
    assert pins(site) == ["tcx"]


def test_a_probe_that_misses_traffic_is_replaced_and_no_byte_is_lost_or_doubled(
    site: Site, lab: Lab
) -> None:
    server = site.server()
    agent = site.agent()
    assert choice(agent).startswith("postrouting")
    counted = site.send(300)
    assert server.gets(site.key, counted)
    with host_routing(lab, lab.node("a1")):
        with site.busy():
            assert agent.wait(PATIENCE) == 1
            assert agent.stderr.count("probe postrouting misses traffic") <= 1
            assert "if this lasts, the agent ends and the next one tries tcx" in agent.stderr
            assert "this agent ends, and the next one also tries tcx" in agent.stderr
            assert server.has(site.key) == counted
            agent = site.agent()
            assert choice(agent).startswith("tcx: it saw 1")
            assert agent.logs("removed", sites.WAIT)
        stop(agent)
        before = settled(server, site)
        agent = site.agent()
        assert server.gets(site.key, before.plus(site.send(300)))
    assert [name.partition("+examined")[0] for name in pins(site)] == ["auto", "tcx"]
    assert "probe tcx replaced probe postrouting" in site.running[-2].stderr


def test_with_the_capabilities_kept_the_same_process_switches_to_the_probe_that_sees_all(
    site: Site, lab: Lab
) -> None:
    server = site.server()
    agent = site.agent("--keep-capabilities")
    process = agent.daemon.process
    assert effective(process.pid) == 0
    counted = site.send(300)
    assert server.gets(site.key, counted)
    with host_routing(lab, lab.node("a1")):
        with site.busy(), downloading(lab, pause=0.005) as own:
            assert agent.logs("selected probe tcx: it saw 1", PATIENCE)
            assert agent.logs("removed", sites.WAIT)
        assert process.poll() is None
        wait_ready(agent.daemon, "/healthz")
        before = settled(server, site)
        assert before.packets > counted.packets
        assert server.gets(site.key, before.plus(site.send(300)))
    # Both probes see what the node itself sends.
    nodes = WireKey(lab.node("a1").ipv4, lab.fabric.ipv4, socket.IPPROTO_UDP)
    assert wait_for(lambda: site.left(nodes) == Counts(), sites.WAIT)
    assert 0 <= own() * 1028 - server.has(nodes).bytes <= agent.metric(UNCOUNTED)
    assert "selects a probe anew and tries tcx" in agent.stderr
    assert effective(process.pid) == 0
    stop(agent)


def effective(pid: int) -> int:
    return capabilities.read(Path(f"/proc/{pid}/status")).effective


def test_a_named_probe_that_misses_traffic_stays_and_logs_what_to_do(site: Site, lab: Lab) -> None:
    site.server()
    agent = site.agent("--probe", "postrouting")

    def logged(text: str) -> bool:
        with suppress(KznError):  # what is sent is only to be measured: a datagram may be lost
            site.send(640)
        return text in agent.stderr

    with host_routing(lab, lab.node("a1")):
        assert wait_for(partial(logged, "try --probe tcx or --probe auto"), PATIENCE)
        assert (coverage(agent) or 0) < 0.1
        agent.daemon.wait_ready("/healthz")
    assert wait_for(partial(logged, "sees traffic that leaves this node again"), PATIENCE), (
        agent.stderr
    )
    assert wait_for(lambda: logged("") and (coverage(agent) or 0) > 0.99, PATIENCE)
    assert agent.stderr.count("probe postrouting misses traffic") == 1


def test_a_trial_that_changes_nothing_is_recorded_and_the_probe_stays(site: Site) -> None:
    server = site.server()
    agent = site.agent()
    sent = site.send(20)
    agent.kill()
    notes = Notes(site.pin_dir)
    last = boottime_ns() / 1e9 - 2 * APART_SECONDS
    notes.record(LastTrial(max(last, 0.0), 0))
    assert notes.suspect()
    with site.busy() as more:
        assert wait_for(lambda: more().packets > 500, sites.WAIT)
        agent = site.agent()
        assert choice(agent).startswith("postrouting: it saw 1")
    last_trial = notes.last_trial()
    assert last_trial is not None
    assert (last_trial.unchanged, notes.suspected_blind) == (1, False)
    assert server.gets(site.key, sent.plus(more()))


def test_a_suspicion_holds_where_the_next_trial_sees_too_little_to_answer_it(site: Site) -> None:
    server = site.server()
    agent = site.agent()
    agent.kill()
    assert Notes(site.pin_dir).suspect()
    agent = site.agent(ready=False)
    assert agent.logs("removed pins", PATIENCE)  # of the replaced set, once it is drained
    assert choice(agent).startswith("tcx: it saw the test packets")
    assert choice(agent).endswith("; not postrouting: it was seen to miss traffic")
    assert server.gets(site.key, site.send(50))


def test_a_choice_without_traffic_is_doubted_at_its_first_low_ratio(site: Site, lab: Lab) -> None:
    """Five ratios would be thirty batches, one is six, beside those until there is traffic."""
    server = site.server()
    agent = site.agent()
    assert choice(agent).startswith("postrouting: it saw the test packets")
    with host_routing(lab, lab.node("a1")), site.busy() as sent:
        assert wait_for(lambda: sent().packets > 100, sites.WAIT)
        before = server.metric(BATCHES)
        assert agent.wait(PATIENCE) == 1
        assert server.metric(BATCHES) - before < 20


@pytest.mark.parametrize(("other", "times"), [("tcx", 10), ("clsact", 4)])
def test_what_a_switch_loses_is_at_most_the_reported_bound_and_nothing_is_doubled(
    site: Site, other: str, times: int, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Back and forth under a stream: what is missing is at most what the agents reported."""
    server = site.server()
    with clsact_qdisc(site):
        agent, reported = site.agent("--probe", "postrouting"), 0.0
        with site.busy() as sent:
            for probe in [other, "postrouting"] * (times // 2):
                least = sent().packets + 500
                assert wait_for(lambda least=least: sent().packets > least, sites.WAIT)
                # Of more than `MAX_RETIRED` sets the oldest is dropped, with its bytes as a number.
                assert wait_for(lambda: len(pins(site)) <= MAX_RETIRED, sites.WAIT)
                agent.kill()
                agent = site.agent("--probe", probe)
                reported += agent.metric(UNCOUNTED)
        assert wait_for(lambda: pins(site) == ["postrouting"], sites.WAIT)
        stop(agent)
    lost = sent().bytes - settled(server, site).bytes
    words = f"{lost} of {sent().bytes} bytes in {times} switches, {reported:.0f} reported"
    record_testsuite_property(f"lost between postrouting and {other}", words)
    assert 0 <= lost <= reported


@pytest.mark.parametrize("other", ["tcx", "clsact"])
def test_a_batch_that_waits_for_a_server_is_kept_across_a_switch(
    site: Site, other: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    with clsact_qdisc(site):
        agent = site.agent("--probe", "postrouting")
        waiting = site.send(100)
        assert wait_for(lambda: "in flight" in states(site), sites.WAIT)
        more = site.send(100)
        agent.kill()
        with site.busy() as sent:
            assert wait_for(lambda: sent().packets > 500, sites.WAIT)
            agent = site.agent("--probe", other)
            reported = agent.metric(UNCOUNTED)
            least = sent().packets + 500
            assert wait_for(lambda: sent().packets > least, sites.WAIT)
        server = site.server()
        assert wait_for(lambda: pins(site) == [other], 2 * sites.WAIT)
        stop(agent)
        lost = waiting.plus(more).plus(sent()).bytes - settled(server, site).bytes
    record_testsuite_property(
        f"lost to {other} while a batch waited", f"{lost}; {reported:.0f} reported"
    )
    assert 0 <= lost <= reported


def states(site: Site) -> list[str]:
    return [buffer["state"] for one in site.inspect() for buffer in one["buffers"]]


@contextmanager
def clsact_qdisc(site: Site) -> Iterator[None]:
    """One that exists already: the kernel drops what is sent while one is created or removed."""
    node = site.lab.node("a1")
    end = ["dev", node.uplink, "clsact"]
    assert site.lab.run(node.namespace, ["tc", "qdisc", "add", *end]).returncode == 0
    try:
        yield
    finally:
        site.lab.run(node.namespace, ["tc", "qdisc", "del", *end])


def test_kzn_probes_shows_which_one_auto_would_select(site: Site) -> None:
    site.server()
    rows = json.loads(site.kzn("probes", "--json", "--pin-dir", str(site.pin_dir)).stdout)
    assert {row["name"]: row["auto"] for row in rows}["postrouting"].startswith(
        "the first that can"
    )
    stop(site.agent("--probe", "tcx"))
    rows = json.loads(site.kzn("probes", "--json", "--pin-dir", str(site.pin_dir)).stdout)
    assert {row["name"]: row["auto"] for row in rows} == {
        "clsact": "",
        "postrouting": "",
        "tcx": "already attached and healthy",
    }
