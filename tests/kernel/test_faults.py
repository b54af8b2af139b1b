"""Faults of kernel, machine, server and network, as an operator meets them.

Each is one clear sentence with a hint and an exit code, or a counter and a retry.
"""

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import site_of_a1 as sites
from site_of_a1 import Site

from kzn.lab import namespaces
from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab
from kzn.libbpf.links import NF_INET_POST_ROUTING, attach_netfilter
from kzn.model.totals import Counts
from kzn.probes.attach import load
from kzn.probes.postrouting import PRIORITIES, PROBE
from kzn.probes.settings import Settings
from kzn.wire.codec import encode_to_agent
from kzn.wire.frames import frame
from kzn.wire.messages import Reason, Refusal

BTF = "/sys/kernel/btf"
REFUSED = "kzn_server_refused_total{"
FAILURES = "kzn_agent_delivery_failures_total{"
HTTP = b"GET /metrics HTTP/1.1\r\nHost: kzn\r\n\r\n"
TLS = bytes.fromhex("16030100c8010000c40303") + bytes(194)


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Node a1 and a place for a server."""
    with sites.made(lab, "faults") as site:
        yield site


def with_mounts(script: str) -> tuple[str, ...]:
    """A prefix that runs a command in a mount namespace changed by a shell script."""
    return ("unshare", "-m", "sh", "-ec", f'{script}\nexec "$@"', "sh")


NO_BTF = with_mounts(f"mount -t tmpfs none {BTF}")
OLD_KERNEL = with_mounts(f"mount -t tmpfs none {BTF}; printf '\\0task_struct\\0' > {BTF}/vmlinux")
NO_LIBBPF = with_mounts(
    "for file in /lib/*/libbpf.so.1 /usr/lib/*/libbpf.so.1 /usr/lib64/libbpf.so.1; do\n"
    'if [ -e "$file" ]; then mount --bind /dev/null "$file"; fi; done'
)


def without(capability: str) -> tuple[str, ...]:
    """A prefix that runs a command as root without a capability."""
    return ("setpriv", f"--bounding-set=-{capability}", "--")


@pytest.mark.parametrize(
    ("prefix", "sentence", "hint"),
    [
        (NO_BTF, "this kernel has no BTF", "CONFIG_DEBUG_INFO_BTF=y"),
        (OLD_KERNEL, "no BPF programs on netfilter hooks", "Linux 6.4 or later"),
        (NO_LIBBPF, "load libbpf.so.1: ", "apt-get install libbpf1"),
        (without("net_admin"), "this process lacks CAP_NET_ADMIN", "run as root"),
        (without("all"), "lacks CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF", "run as root"),
    ],
)
def test_a_missing_feature_of_the_machine_is_named(
    site: Site, prefix: tuple[str, ...], sentence: str, hint: str
) -> None:
    done = site.kzn("agent", "--print", prefix=prefix)
    assert done.returncode == 3
    first, second = done.stderr.splitlines()
    assert first.startswith("kzn: ")
    assert sentence in first
    assert second.startswith("hint: ")
    assert hint in second
    listed = site.kzn("probes", "--json", prefix=prefix)
    assert listed.returncode == 0
    assert '"supported": false' in listed.stdout
    assert sentence in listed.stdout


def test_without_a_bpf_file_system_the_hint_is_the_mount_command(site: Site) -> None:
    done = ship(site, site.lab.directory / "no-bpffs")
    assert done[0] == 3
    assert "no-bpffs is not on a bpf file system" in done[1]
    assert (
        "hint: mount one: mount -t bpf bpf /sys/fs/bpf, and set --pin-dir to a path in it"
        in done[1]
    )


def ship(site: Site, pin_dir: Path, *options: str) -> tuple[int, str]:
    """Run an agent that cannot start; its exit status and stderr."""
    always = ("agent", "--node", "a1", "--server", "10.0.0.1:7070", "--listen-http", ":0")
    done = site.kzn(*always, "--pin-dir", str(pin_dir), *options)
    return done.returncode, done.stderr


def test_a_pin_directory_with_a_dot_in_its_name_is_an_error_with_a_hint(site: Site) -> None:
    status, stderr = ship(site, site.pin_dir.with_name("kzn.1"))
    assert status == 1
    assert (
        "kzn.1: Operation not permitted\nhint: a bpf file system takes no name with a dot" in stderr
    )


def test_pins_of_other_programs_are_not_removed(site: Site) -> None:
    theirs = site.pin_dir / "theirs" / "inside"
    theirs.mkdir(parents=True)
    site.server()
    site.agent().stop()
    done = site.kzn("detach", "--pin-dir", str(site.pin_dir))
    assert (done.returncode, done.stdout) == (0, f"removed {site.pin_dir}/postrouting\n")
    assert theirs.is_dir()
    theirs.rmdir()
    theirs.parent.rmdir()


def test_a_port_in_use_is_an_error_before_anything_is_attached(site: Site) -> None:
    with namespaces.inside(site.lab.node("a1").namespace):
        taken = socket.create_server(("127.0.0.1", 9999))
    with taken:
        status, stderr = ship(site, site.pin_dir, "--listen-http", "127.0.0.1:9999")
    assert status == 1
    assert stderr.startswith("kzn: listen on 127.0.0.1:9999: EADDRINUSE")
    assert not (site.pin_dir / "postrouting").exists()


@contextmanager
def taken(site: Site, priorities: tuple[int, ...]) -> Iterator[None]:
    """Occupy priorities of IPv4 POSTROUTING on node a1."""
    with ExitStack() as stack:
        stack.enter_context(namespaces.inside(site.lab.node("a1").namespace))
        loaded = stack.enter_context(load(PROBE, Settings(max_flows=16)))
        program = loaded.program_fd("postrouting_ipv4")
        for priority in priorities:
            fd = attach_netfilter(program, "ipv4", NF_INET_POST_ROUTING, priority, "another")
            stack.callback(os.close, fd)
        yield


def test_a_priority_in_use_is_logged_and_the_next_one_tried(site: Site) -> None:
    with taken(site, PRIORITIES[:2]):
        server, agent = site.server(), site.agent()
    assert "other programs have priority 50, 51 of postrouting/ipv4" in agent.stderr
    assert "attached postrouting/ipv4 at priority 52" in agent.stderr
    assert server.gets(site.key, site.send(20))


def test_beyond_the_usual_priorities_every_other_one_before_source_nat_is_tried(
    site: Site,
) -> None:
    free = 17
    with taken(site, tuple(set(range(1, 100)) - {free})):
        server, agent = site.server(), site.agent()
    assert "57, 58, 59 and 72 more of postrouting/ipv4" in agent.stderr
    assert f"attached postrouting/ipv4 at priority {free}" in agent.stderr
    assert "attached postrouting/ipv6 at priority 50" in agent.stderr
    assert server.gets(site.key, site.send(20))


def test_with_all_priorities_in_use_the_hint_is_the_command_that_lists_the_links(
    site: Site,
) -> None:
    with taken(site, PRIORITIES):
        status, stderr = ship(site, site.pin_dir, "--probe", "postrouting")
        again, _ = ship(site, site.pin_dir, "--probe", "postrouting")
    assert status == again == 1
    last = stderr.splitlines()[-2:]
    assert last[0] == "kzn: attach postrouting/ipv4: priorities 1 to 99 are all taken"
    assert "bpftool link lists" in last[1]
    site.server()
    site.agent()  # completes the pins of the failed starts


@pytest.mark.parametrize(
    ("bytes_", "reason"),
    [
        (HTTP, "speaks_http"),
        (TLS, "speaks_tls"),
        (b"\xff\xff\xff\xff" + bytes(100), "frame_too_large"),
        (b"\0\0\0\0", "frame_empty"),
        (b"\0\0\0\5hello", "envelope"),
    ],
)
def test_garbage_on_the_agent_port_is_counted_and_disturbs_no_agent(
    site: Site, bytes_: bytes, reason: str
) -> None:
    server = site.server()
    site.agent()
    with namespaces.inside(site.lab.fabric.namespace):
        peer = socket.create_connection(("127.0.0.1", sites.BATCH_PORT), timeout=10)
    with peer:
        peer.sendall(bytes_)
        answer = b"".join(iter(lambda: peer.recv(4096), b""))
    assert len(answer) < 1024
    assert wait_for(lambda: server.metric(f'{REFUSED}reason="{reason}"') == 1, sites.WAIT)
    assert server.logs("refused unauthenticated peer from 127.0.0.1: ")
    assert server.gets(site.key, site.send(20))


@contextmanager
def pretending(site: Site, answer: bytes) -> Iterator[Callable[[], int]]:
    """A server that answers every Hello with the same bytes; yields the number of answers."""
    with namespaces.inside(site.lab.fabric.namespace):
        listener = socket.create_server(("", sites.BATCH_PORT))
    asked = 0

    def serve() -> None:
        nonlocal asked
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                length = struct.unpack("!I", connection.recv(4, socket.MSG_WAITALL))[0]
                connection.recv(length, socket.MSG_WAITALL)
                asked += 1
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield lambda: asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(sites.WAIT)
        listener.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "closed"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks_http"),
        (b"\0\0\0\5hello", "envelope"),
        (b"\0\0\0\5he", "frame_cut"),
        (frame(encode_to_agent(Refusal(Reason.BUSY, "later"))), "refused_busy"),
    ],
)
def test_the_agent_retries_until_the_server_answers_correctly(
    site: Site, answer: bytes, reason: str
) -> None:
    with pretending(site, answer) as asked:
        agent = site.agent()
        sent = site.send(20)
        assert wait_for(lambda: asked() >= 2, sites.WAIT)
        assert wait_for(lambda: agent.metric(f'{FAILURES}reason="{reason}"') >= 2, sites.WAIT)
        assert f"cannot deliver to server 10.0.0.1:7070 ({reason}: " in agent.stderr
    assert site.server().gets(site.key, sent)


def test_a_server_of_another_version_ends_the_agent_and_the_counts_stay_in_the_kernel(
    site: Site,
) -> None:
    refusal = Refusal(Reason.VERSION, "protocol 9, this server speaks 1")
    with pretending(site, frame(encode_to_agent(refusal))):
        agent = site.agent(ready=False)
        assert agent.logs("attached postrouting/ipv6")
        sent = site.send(20)
        assert agent.wait() == 1
    *_, sentence, hint = agent.stderr.splitlines()
    assert sentence == "kzn: the server refused: protocol 9, this server speaks 1"
    assert hint == "hint: run agents and server of the same kzn version"
    assert site.left(site.key) == sent


def test_bytes_of_an_unknown_node_are_unresolved_and_the_node_is_logged(site: Site) -> None:
    server = site.server()
    site.agent("--node", "zz")
    sent = site.send(20)
    unresolved = 'kzn_unresolved_bytes_total{node="zz"'
    assert wait_for(lambda: server.metric(unresolved) >= sent.bytes, sites.WAIT)
    assert "node zz is not in the topology" in server.stderr
    assert server.has(site.key) in (sent, Counts())
