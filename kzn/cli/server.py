"""``kzn server``: take batches of agents, say whose traffic it is, and show it."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from kzn.cli.params import ADDRESS, LOG_LEVEL

if TYPE_CHECKING:
    from kzn.daemon.listen import Address

_FILE = click.Path(path_type=Path, dir_okay=False)


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
    type=_FILE,
    metavar="FILE",
    help="YAML file of networks beside the topology: databases, subnets, load balancers.",
)
@click.option(
    "--flow-log",
    type=click.Choice(["text", "json", "off"]),
    default="off",
    show_default=True,
    help="A line on stdout for each flow of each interval.",
)
@click.option("--kubeconfig", default="", metavar="FILE", help="As kubectl's.")
@click.option("--context", default="", metavar="NAME", help="Context of the kubeconfig.")
@click.option("--log-level", type=LOG_LEVEL, default="info", show_default=True)
def server(
    *,
    listen_agents: "Address",
    listen_http: "Address",
    topology: str,
    static: Path | None,
    flow_log: Literal["text", "json", "off"],
    kubeconfig: str,
    context: str,
    log_level: str,
) -> None:
    """Take batches of agents, resolve them to workloads and zones, and serve metrics.

    A server with a topology FILE needs no cluster. --static comes beside either.
    """
    import asyncio

    from kzn.daemon import logs
    from kzn.server.app import run
    from kzn.server.config import ServerConfig

    logs.set_up(log_level)
    config = ServerConfig(
        listen_agents=listen_agents,
        listen_http=listen_http,
        topology=None if topology == "kubernetes" else Path(topology),
        static=static,
        flow_log=flow_log,
        kubeconfig=kubeconfig,
        context=context,
    )
    asyncio.run(run(config))
