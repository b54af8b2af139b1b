"""``kzn agent``: count the packets that leave this node's network namespaces, ship the counts."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kzn.cli.params import (
    ADDRESS,
    DURATION,
    FILE,
    REMOTE_ADDRESS,
    http_host_option,
    log_level_option,
    pin_dir_option,
)

if TYPE_CHECKING:
    from kzn.daemon.listen import HostPort
    from kzn.probes.settings import PortsMode


@click.command()
@click.option(
    "--server", type=REMOTE_ADDRESS, metavar="HOST:PORT", help="Address of kzn server for agents."
)
@click.option("--node", metavar="NAME", help="Name of this node in Kubernetes.")
@click.option(
    "--probe",
    default="auto",
    show_default=True,
    metavar="auto|NAME",
    help="Probe to attach, one that kzn probes lists; auto chooses by trial.",
)
@click.option(
    "--interval", type=DURATION, default="10s", show_default=True, help="Time between two batches."
)
@click.option(
    "--max-flows",
    type=click.IntRange(min=1, max=1 << 17),
    default=65536,
    show_default=True,
    help="Flows that each of the two buffers can hold; packets of further flows count as missed.",
)
@click.option(
    "--ports",
    type=click.Choice(["none", "service", "all"]),
    default="service",
    show_default=True,
    help="Ports to keep in a flow: none, the port of the side connected to, or both.",
)
@pin_dir_option
@click.option(
    "--listen-http",
    type=ADDRESS,
    default=":9102",
    show_default=True,
    help="Address that serves /metrics and /healthz.",
)
@http_host_option
@click.option(
    "--tls-ca", type=FILE, help="CA certificates; the agent uses TLS and verifies the server."
)
@click.option("--tls-cert", type=FILE, help="Client certificate (mutual TLS).")
@click.option("--tls-key", type=FILE, help="Key of --tls-cert, unless in the same file.")
@click.option(
    "--tls-server-name",
    default="",
    metavar="NAME",
    help="Name to verify in the server's certificate instead of HOST.",
)
@click.option("--token-file", type=FILE, help="ServiceAccount token to send; read at each connect.")
@click.option(
    "--uplink",
    "uplinks",
    default="auto",
    show_default=True,
    metavar="auto|all|NAME[,NAME...]",
    help="Interfaces that lead off this node; other traffic is ignored (local). all: count it too.",
)
@click.option(
    "--inbound",
    type=click.Choice(["count", "skip"]),
    default="count",
    show_default=True,
    help="Packets from an uplink to a pod of this node; skip needs an agent on every sender.",
)
@click.option(
    "--keep-capabilities",
    "keeps_capabilities",
    is_flag=True,
    help="Keep the capabilities to load probes, unused, so that auto can switch without a restart.",
)
@click.option(
    "--print",
    "print_only",
    is_flag=True,
    help="Print batches on stdout; nothing is shipped or pinned.",
)
@log_level_option
def agent(
    *,
    server: "HostPort | None",
    node: str | None,
    probe: str,
    interval: float,
    max_flows: int,
    ports: "PortsMode",
    pin_dir: Path,
    listen_http: "HostPort",
    http_hosts: tuple[str, ...],
    uplinks: str,
    inbound: str,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_server_name: str,
    token_file: Path | None,
    keeps_capabilities: bool,
    print_only: bool,
    log_level: str,
) -> None:
    """Every packet that leaves a network namespace of this node is counted by an eBPF program.

    Run one agent on each node. Its links and maps are pinned: they keep counting while
    the agent restarts. --print does not disturb an agent that runs on the same node.
    """
    if not print_only and not (server and node):
        raise click.UsageError("--server and --node are needed, or --print")
    if tls_ca is None and (tls_cert or tls_key or tls_server_name):
        raise click.UsageError("--tls-cert, --tls-key and --tls-server-name need --tls-ca")
    if tls_key and not tls_cert:
        raise click.UsageError("--tls-key needs --tls-cert")
    from kzn.daemon.stop_flag import StopFlag

    stop = StopFlag()
    with stop.catch_signals():  # before the imports, which take a third of a second
        from kzn.agent.config import AgentConfig
        from kzn.agent.main import run
        from kzn.daemon import logs
        from kzn.daemon.tls import ClientTls
        from kzn.probes.settings import Settings

        logs.set_up(log_level)
        config = AgentConfig(
            node=node or "",
            server=None if print_only else server,
            probe=probe,
            settings=Settings(ports=ports, max_flows=max_flows),
            interval=interval,
            pin_dir=pin_dir,
            listen_http=None if print_only else listen_http,
            http_hosts=http_hosts,
            uplinks=_uplinks(uplinks),
            skip_inbound=inbound == "skip",
            tls=ClientTls(tls_ca, tls_cert, tls_key, tls_server_name) if tls_ca else None,
            token_file=token_file,
            keeps_capabilities=keeps_capabilities,
        )
        run(config, stop)


def _uplinks(text: str) -> tuple[str, ...] | None:
    if text in ("auto", "all"):
        return () if text == "auto" else None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise click.UsageError(f"--uplink {text!r} has an empty name; write auto, all or NAME,NAME")
    return names
