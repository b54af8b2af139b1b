"""The lab: zones of network namespaces on this machine, created on entry, removed on exit.

In: a `LabSpec`. Out: nodes and pods to send from, processes inside them, the witness's counters.
Never: changes a device, an address, a mount or a file of the machine itself.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from kzn.errors import UnsupportedError
from kzn.lab import namespaces, plan, witness
from kzn.lab.plan import CONNTRACK, LabSpec, Node, Pod
from kzn.model.totals import Counts

TOOLS = {"ip": "iproute2", "nft": "nftables", "setpriv": "util-linux"}

# PDEATHSIG is not sent if the parent ended before it was set, so the child checks its parent.
ALIVE = 'test "$PPID" = "$0" || exit 1; exec "$@"'
DIES_WITH = ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", ALIVE]


class Lab:
    """Zones of nodes with pods, and a fabric that routes between the nodes.

    The names are in a mount namespace of the entering thread: other programs do not see them, and
    the kernel removes everything when this process and those that it started have ended, also
    after SIGKILL (``nsenter -t PID -m`` enters it). Threads and processes started by the entering
    thread are inside, too.
    """

    def __init__(
        self,
        prefix: str = "kzn",
        zones: tuple[str, ...] = ("zone-a", "zone-b"),
        nodes_per_zone: int = 1,
        pods_per_node: int = 2,
        mtu: int = 1500,
        *,
        outside: bool = False,
        conntrack: bool = False,
    ) -> None:
        self.plan = plan.make_plan(
            LabSpec(prefix, zones, nodes_per_zone, pods_per_node, mtu, outside, conntrack)
        )
        self.fabric = self.plan.fabric
        self.nodes = self.plan.nodes
        self.pods = self.plan.pods
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Create the lab; UnsupportedError without root, a tool or a kernel feature."""
        require_tools(TOOLS)
        with ExitStack() as stack:
            self.directory = stack.enter_context(namespaces.private_names()) / ".lab"
            self.directory.mkdir()
            self._mount_bpffs(stack)
            for namespace in self.plan.namespaces:
                stack.callback(self.ip, ["netns", "del", namespace])
                self.ip(["netns", "add", namespace])
            self._set_sysctls()
            witness.install(self.fabric.namespace)  # before the first packet
            for namespace, lines in plan.batches(self.plan):
                self.configure(namespace, lines)
            for node in self.nodes if self.plan.spec.conntrack else ():
                witness.run(["ip", "netns", "exec", node.namespace, "nft", "-f", "-"], CONNTRACK)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the lab."""
        self._stack.close()

    def node(self, name: str) -> Node:
        """The node of that name (``a1``)."""
        return next(node for node in self.nodes if node.name == name)

    def pod(self, name: str) -> Pod:
        """The pod of that name (``a1-p1``)."""
        return next(pod for pod in self.pods if pod.name == name)

    def pin_dir(self, node: Node) -> Path:
        """A directory on a bpffs of the lab, only for this node's agent."""
        return self.directory / "bpf" / node.name

    def uplink_counters(self, node: Node) -> witness.DeviceCounters:
        """Counters of the node's uplink device."""
        return witness.device_counters(node.namespace, node.uplink)

    def carried(self) -> dict[witness.WireKey, Counts]:
        """Packets and L3 bytes that all uplinks sent, by source, destination and protocol."""
        return witness.carried(self.fabric.namespace)

    def carried_by(self, node: Node) -> Counts:
        """Packets and L3 bytes, multicast included, that reached the fabric from this node."""
        return witness.carried_by(self.fabric.namespace, node.name)

    def configure(self, namespace: str, commands: Sequence[str]) -> None:
        """Run iproute2 commands (without the word ``ip``) in a namespace, in one process."""
        self.ip(["-n", namespace, "-batch", "-"], "\n".join(commands) + "\n")

    def ip(self, arguments: Sequence[str], text: str = "") -> None:
        """Run ``ip`` in the lab; KznError with its stderr if it fails."""
        witness.run(["ip", *arguments], text)

    def popen(
        self,
        namespace: str,
        command: Sequence[str],
        *,
        stdout: IO[bytes] | int | None = None,
        stderr: IO[bytes] | int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process in a namespace; it ends with the lab or the calling thread.

        It has its own process group, so that Ctrl-C on the terminal does not reach it.
        """
        process = subprocess.Popen(
            self.command(namespace, command),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            process_group=0,
        )
        self._stack.callback(_end, process)
        return process

    def run(
        self, namespace: str, command: Sequence[str], *, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a namespace to its end; the caller checks the exit status."""
        return subprocess.run(
            self.command(namespace, command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def command(self, namespace: str, command: Sequence[str]) -> list[str]:
        """The command line that runs ``command`` in a namespace of the lab."""
        guarded = [*DIES_WITH, str(os.getpid()), *command]
        return ["ip", "netns", "exec", namespace, *guarded]

    def _mount_bpffs(self, stack: ExitStack) -> None:
        target = self.directory / "bpf"
        target.mkdir()
        try:
            namespaces.mount("bpf", target)
        except OSError as error:
            raise UnsupportedError(
                f"mount a bpffs: {error.strerror}", hint="the kernel needs CONFIG_BPF_SYSCALL"
            ) from error
        stack.callback(namespaces.unmount, target)

    def _set_sysctls(self) -> None:
        pods = {pod.namespace for pod in self.pods}
        for namespace in self.plan.namespaces:
            router = {} if namespace in pods else plan.ROUTER_SYSCTLS
            with namespaces.inside(namespace):
                for name, value in (plan.SYSCTLS | router).items():
                    _set_sysctl(name, value)


def require_tools(tools: dict[str, str]) -> None:
    """UnsupportedError with the packages of missing programs."""
    missing = sorted(package for tool, package in tools.items() if shutil.which(tool) is None)
    if missing:
        names = " ".join(missing)
        raise UnsupportedError(
            f"missing programs of the packages {names}", hint=f"apt-get install {names}"
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _set_sysctl(name: str, value: str) -> None:
    try:
        Path("/proc/sys/net", name).write_text(value)
    except OSError as error:
        raise UnsupportedError(
            f"set net/{name} to {value}: {error.strerror}",
            hint="the lab needs IPv6 in the kernel and a writable /proc/sys",
        ) from error
