"""``kzn agent``: count what leaves this node and ship it to a server."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kzn.cli.params import ADDRESS, DURATION, FILE, LOG_LEVEL, REMOTE_ADDRESS

if TYPE_CHECKING:
    from kzn.daemon.listen import HostPort
    from kzn.probes.settings import PortsMode


@click.command(short_help="Count what leaves this node and ship it.")
@click.option("--server", type=REMOTE_ADDRESS, help="Where batches go.")
@click.option("--node", help="Name of this node in Kubernetes.")
@click.option("--probe", default="auto", show_default=True, help="Which probe; see kzn probes.")
@click.option(
    "--interval", type=DURATION, default="10s", show_default=True, help="Time between two batches."
)
@click.option(
    "--max-flows",
    type=click.IntRange(min=1, max=1 << 17),
    default=65536,
    show_default=True,
    help="Flows that a buffer can hold; what comes beyond is counted as missed.",
)
@click.option(
    "--ports",
    type=click.Choice(["none", "service", "all"]),
    default="service",
    show_default=True,
    help="Which ports are kept: none, that of the side connected to, or both.",
)
@click.option(
    "--pin-dir",
    type=click.Path(path_type=Path),
    default=Path("/sys/fs/bpf/kzn"),
    show_default=True,
    help="Where links and maps outlive the agent; on a bpf file system.",
)
@click.option(
    "--listen-http",
    type=ADDRESS,
    default=":9102",
    show_default=True,
    help="Where /metrics and /healthz are served.",
)
@click.option("--tls-ca", type=FILE, help="Speak TLS, and check the server by these authorities.")
@click.option("--tls-cert", type=FILE, help="Certificate to show to the server (mutual TLS).")
@click.option("--tls-key", type=FILE, help="Its key, when not in the same file.")
@click.option(
    "--tls-server-name", default="", metavar="NAME", help="Name to expect in place of HOST."
)
@click.option("--token-file", type=FILE, help="ServiceAccount token to show; read at each connect.")
@click.option(
    "--uplink",
    "uplinks",
    default="auto",
    show_default=True,
    metavar="auto|all|NAME[,NAME...]",
    help="Interfaces that lead off this node; what stays makes no flow. With all it does.",
)
@click.option(
    "--inbound",
    type=click.Choice(["count", "skip"]),
    default="count",
    show_default=True,
    help="What came in by an uplink for a pod here: skip it only if every sender has an agent.",
)
@click.option("--print", "print_only", is_flag=True, help="Print batches; no server, no pins.")
@click.option("--log-level", type=LOG_LEVEL, default="info", show_default=True)
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
    uplinks: str,
    inbound: str,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_server_name: str,
    token_file: Path | None,
    print_only: bool,
    log_level: str,
) -> None:
    """Count every packet that leaves a network namespace of this node, and ship the counts.

    Links and maps are pinned: they go on counting while the agent restarts. With --print nothing
    is pinned or shipped, and an agent that runs beside it is not disturbed.
    """
    if not print_only and not (server and node):
        raise click.UsageError("--server and --node are needed, or --print")
    if tls_ca is None and (tls_cert or tls_key or tls_server_name):
        raise click.UsageError("--tls-cert, --tls-key and --tls-server-name need --tls-ca")
    if tls_key and not tls_cert:
        raise click.UsageError("--tls-key needs --tls-cert")
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
        uplinks=_uplinks(uplinks),
        skip_inbound=inbound == "skip",
        tls=ClientTls(tls_ca, tls_cert, tls_key, tls_server_name) if tls_ca else None,
        token_file=token_file,
    )
    run(config)


def _uplinks(text: str) -> tuple[str, ...] | None:
    if text in ("auto", "all"):
        return () if text == "auto" else None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise click.UsageError(f"--uplink {text!r}: write auto, all, or names with commas between")
    return names
