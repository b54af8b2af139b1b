"""``kzn server``: take batches of agents, say whose traffic it is, and show it."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from kzn.cli.params import ADDRESS, FILE, LOG_LEVEL

if TYPE_CHECKING:
    from kzn.daemon.listen import HostPort


@click.command(short_help="Take batches of agents and show whose traffic crosses zones.")
@click.option(
    "--listen-agents",
    type=ADDRESS,
    default=":7070",
    show_default=True,
    help="Where agents connect.",
)
@click.option(
    "--listen-http",
    type=ADDRESS,
    default=":8080",
    show_default=True,
    help="Where /metrics, /healthz, /readyz and /api/v1 are served.",
)
@click.option(
    "--topology",
    default="kubernetes",
    show_default=True,
    metavar="kubernetes|FILE",
    help="Who has which address: the Kubernetes API, or a YAML file alone.",
)
@click.option(
    "--static",
    type=FILE,
    metavar="FILE",
    help="YAML file of networks beside the topology: databases, subnets, load balancers.",
)
@click.option(
    "--state",
    type=FILE,
    metavar="FILE",
    help="Keep counters in this file over restarts; batches are acknowledged once they are in it.",
)
@click.option(
    "--flow-log",
    type=click.Choice(["text", "json", "off"]),
    default="off",
    show_default=True,
    help="A line on stdout for each flow of each interval.",
)
@click.option("--tls-cert", type=FILE, help="Speak TLS with agents, with this certificate.")
@click.option("--tls-key", type=FILE, help="Its key.")
@click.option("--tls-client-ca", type=FILE, help="Ask agents for certificates of this authority.")
@click.option(
    "--auth",
    type=click.Choice(["none", "token", "mtls"]),
    help="What agents prove their node with.  [default: mtls with --tls-client-ca, else none]",
)
@click.option(
    "--agent-service-account",
    multiple=True,
    default=("kzn/kzn-agent",),
    show_default=True,
    metavar="NAMESPACE/NAME",
    help="Whose tokens are taken; may be given more than once.",
)
@click.option("--kubeconfig", default="", metavar="FILE", help="As kubectl's.")
@click.option("--context", default="", metavar="NAME", help="Context of the kubeconfig.")
@click.option(
    "--zone-ids",
    is_flag=True,
    help="Zones by their id (label topology.k8s.aws/zone-id), which is the same in all accounts.",
)
@click.option("--log-level", type=LOG_LEVEL, default="info", show_default=True)
def server(
    *,
    listen_agents: "HostPort",
    listen_http: "HostPort",
    topology: str,
    static: Path | None,
    state: Path | None,
    flow_log: Literal["text", "json", "off"],
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    auth: Literal["none", "token", "mtls"] | None,
    agent_service_account: tuple[str, ...],
    kubeconfig: str,
    context: str,
    zone_ids: bool,
    log_level: str,
) -> None:
    """Take batches of agents, resolve them to workloads and zones, and serve metrics.

    A server with a topology FILE needs no cluster. --static comes beside either.
    """
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    if tls_client_ca and not tls_cert:
        raise click.UsageError("--tls-client-ca needs --tls-cert and --tls-key")
    import asyncio

    from kzn.daemon import logs
    from kzn.daemon.tls import ServerTlsFiles
    from kzn.server.app import run
    from kzn.server.config import ServerConfig

    logs.set_up(log_level)
    config = ServerConfig(
        listen_agents=listen_agents,
        listen_http=listen_http,
        topology=None if topology == "kubernetes" else Path(topology),
        static=static,
        state=state,
        flow_log=flow_log,
        kubeconfig=kubeconfig,
        context=context,
        zone_ids=zone_ids,
        tls=ServerTlsFiles(tls_cert, tls_key, tls_client_ca) if tls_cert and tls_key else None,
        auth=auth or ("mtls" if tls_client_ca else "none"),
        agent_accounts=agent_service_account,
    )
    asyncio.run(run(config))
