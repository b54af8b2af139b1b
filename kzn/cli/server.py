"""``kzn server``: receive batches from agents, resolve addresses to workloads, serve metrics."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from kzn.cli.params import (
    ADDRESS,
    DURATION_OR_OFF,
    FILE,
    SERIES_LIMITS,
    http_host_option,
    log_level_option,
)

if TYPE_CHECKING:
    from kzn.daemon.listen import HostPort


@click.command()
@click.option(
    "--listen-agents",
    type=ADDRESS,
    default=":7070",
    show_default=True,
    help="Address that agents connect to.",
)
@click.option(
    "--listen-http",
    type=ADDRESS,
    default=":8080",
    show_default=True,
    help="Address that serves /metrics, /healthz, /readyz and /api/v1.",
)
@http_host_option
@click.option("--http-tls-cert", type=FILE, help="Certificate; HTTP clients must use TLS.")
@click.option("--http-tls-key", type=FILE, help="Key of --http-tls-cert.")
@click.option(
    "--http-auth",
    type=click.Choice(["none", "kubernetes"]),
    default="none",
    show_default=True,
    help="Who may read /metrics and /api: anyone, or whose token the API server lets get the path.",
)
@click.option(
    "--http-max-connections",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Open HTTP connections; one that waits for a request gives way to a new one.",
)
@click.option(
    "--http-max-connections-per-address",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="The same from one address.",
)
@click.option(
    "--topology",
    default="kubernetes",
    show_default=True,
    metavar="kubernetes|FILE",
    help="Source of pods, nodes and zones: the Kubernetes API or a YAML file.",
)
@click.option(
    "--cluster",
    default="",
    metavar="NAME",
    help="Name of the cluster in the history and in kzn_build_info.  [default: the uid of namespace"
    " kube-system]",
)
@click.option(
    "--static",
    type=FILE,
    metavar="FILE",
    help="YAML file of networks outside the cluster: databases, subnets, load balancers.",
)
@click.option(
    "--prices",
    default="auto",
    show_default=True,
    metavar="auto|off|FILE[,FILE]",
    help="Price lists: those installed, by each node's provider; none; or YAML files, also beside"
    " auto.",
)
@click.option(
    "--budgets",
    type=FILE,
    metavar="FILE",
    help="YAML file of budgets of a month, whose use is in metrics; needs --history.",
)
@click.option(
    "--state",
    type=FILE,
    metavar="FILE",
    help="File (SQLite) that keeps the counters over restarts; batches are written before the ack.",
)
@click.option(
    "--state-on-mismatch",
    type=click.Choice(["fail", "begin-anew"]),
    default="fail",
    show_default=True,
    help="For a --state file that is damaged or of another layout: end, or move it aside.",
)
@click.option(
    "--history",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Directory that keeps all flows by minute, hour and day, as Parquet files.",
)
@click.option(
    "--history-keep",
    default="raw=72h,hour=35d,day=400d",
    show_default=True,
    metavar="LEVEL=DURATION,...",
    help="How long minutes, hours and days are kept.",
)
@click.option(
    "--history-size",
    default="10Gi",
    show_default=True,
    metavar="SIZE",
    help="Most bytes of --history; the oldest minutes are removed first, then hours, then days.",
)
@click.option(
    "--history-external",
    type=click.Choice(["full", "/24", "none"]),
    default="full",
    show_default=True,
    help="Addresses outside the cluster: as they are, without the last 8 bits (of IPv6, 80), or"
    " not kept.",
)
@click.option(
    "--history-store",
    metavar="URL",
    help="Answer queries about the past from this engine, which sinks fill, instead of --history:"
    " clickhouse://HOST/DATABASE.",
)
@click.option(
    "--sink",
    "sinks",
    multiple=True,
    metavar="URL",
    help="Deliver the minutes of --history to clickhouse://HOST/DATABASE, dir:///PATH or another"
    " sink; may be repeated.",
)
@click.option(
    "--sink-spool",
    default="1Gi",
    show_default=True,
    metavar="SIZE",
    help="Most bytes of files that wait for a sink; then the oldest are dropped, and counted.",
)
@click.option(
    "--stand-in",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Count what a node without an agent sends at its destination: auto where agents' pods can"
    " be seen; on only if this is the only server.",
)
@click.option(
    "--first-scrape-wait",
    type=DURATION_OR_OFF,
    default="75s",
    show_default=True,
    metavar="DURATION|off",
    help="How long a new series is exposed at 0, so that rates contain its first bytes: longer than"
    " the scrape interval.",
)
@click.option(
    "--created-lines",
    type=click.Choice(["on", "off"]),
    default="on",
    show_default=True,
    help="Tell in OpenMetrics text when each series of traffic began (_created).",
)
@click.option(
    "--flow-log",
    type=click.Choice(["text", "json", "off"]),
    default="off",
    show_default=True,
    help="Print a line on stdout for each flow of each interval.",
)
@click.option(
    "--flow-log-classes",
    default="cross_zone,cross_region",
    metavar="CLASS,...",
    show_default=True,
    help="Classes of flows that have a line: same_zone, cross_zone, cross_region, external,"
    " unresolved; or all.",
)
@click.option(
    "--flow-log-cost",
    is_flag=True,
    help="Each line of the flow log has what its bytes cost at both ends, or why that is unknown.",
)
@click.option(
    "--max-agents",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Connections of agents; fewer if the process may not have as many descriptors.",
)
@click.option(
    "--max-agents-per-address",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Connections of agents from one address, such as one that a load balancer shows.",
)
@click.option(
    "--address-share",
    type=click.FloatRange(min=0.01, max=1.0),
    default=0.25,
    show_default=True,
    help="Share of the server's time that agents of one address can take.",
)
@click.option("--tls-cert", type=FILE, help="Certificate; agents must use TLS.")
@click.option("--tls-key", type=FILE, help="Key of --tls-cert.")
@click.option(
    "--tls-client-ca", type=FILE, help="CA of the client certificates that agents must have."
)
@click.option(
    "--auth",
    type=click.Choice(["none", "token", "mtls"]),
    help="How agents prove their node.  [default: mtls with --tls-client-ca, else none]",
)
@click.option(
    "--agent-service-account",
    multiple=True,
    default=("kzn/kzn-agent",),
    show_default=True,
    metavar="NAMESPACE/NAME",
    help="ServiceAccount of the agents, for --auth token. May be repeated.",
)
@click.option(
    "--max-refused-tokens",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Refused tokens in a minute, of one pod or address, before one a second is reviewed.",
)
@click.option("--kubeconfig", default="", metavar="FILE", help="Kubeconfig, as for kubectl.")
@click.option("--context", default="", metavar="NAME", help="Context of the kubeconfig.")
@click.option(
    "--zone-ids",
    is_flag=True,
    help="Name zones by their ids (label topology.k8s.aws/zone-id), equal in all AWS accounts.",
)
@click.option(
    "--zone-label",
    default="",
    metavar="KEY",
    help="Label of nodes that has their zone, as rack.  [default: topology.kubernetes.io/zone]",
)
@click.option(
    "--region-label",
    default="",
    metavar="KEY",
    help="Label of nodes that has their region.  [default: topology.kubernetes.io/region]",
)
@click.option(
    "--group-label",
    multiple=True,
    metavar="KEY",
    help="Label or annotation of pods or namespaces that names the team (group) of a workload. May"
    " be repeated: the first that is there counts.",
)
@click.option("--default-zone", default="", metavar="ZONE", help="Zone of nodes that have none.")
@click.option(
    "--max-series",
    type=SERIES_LIMITS,
    multiple=True,
    metavar="FAMILY=N",
    help="Most series of a family (as in --families); most nodes with totals: node. May be"
    " repeated.",
)
@click.option(
    "--families",
    default="pod,workload,pair,zone,workload_cost,caused_cost,zone_cost,priced,unpriced",
    show_default="pod, workload, pair, zone, workload_cost, caused_cost, zone_cost, priced,"
    " unpriced",
    metavar="FAMILY,FAMILY",
    help="Families of series that are counted and exposed.",
)
@click.option(
    "--opencost",
    is_flag=True,
    help="Expose the counters of pods that OpenCost reads (kubecost_pod_network_...).",
)
@click.option(
    "--nodes-as-pods",
    is_flag=True,
    help="Series of family pod for what nodes send, too: namespace _node_, as in kubezonnet.",
)
@log_level_option
def server(
    *,
    listen_agents: "HostPort",
    listen_http: "HostPort",
    http_hosts: tuple[str, ...],
    http_tls_cert: Path | None,
    http_tls_key: Path | None,
    http_auth: Literal["none", "kubernetes"],
    http_max_connections: int,
    http_max_connections_per_address: int,
    topology: str,
    cluster: str,
    static: Path | None,
    prices: str,
    budgets: Path | None,
    state: Path | None,
    state_on_mismatch: Literal["fail", "begin-anew"],
    history: Path | None,
    history_keep: str,
    history_size: str,
    history_external: Literal["full", "/24", "none"],
    history_store: str | None,
    sinks: tuple[str, ...],
    sink_spool: str,
    stand_in: Literal["auto", "on", "off"],
    first_scrape_wait: float,
    created_lines: Literal["on", "off"],
    flow_log: Literal["text", "json", "off"],
    flow_log_classes: str,
    flow_log_cost: bool,
    max_agents: int,
    max_agents_per_address: int,
    address_share: float,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    auth: Literal["none", "token", "mtls"] | None,
    agent_service_account: tuple[str, ...],
    max_refused_tokens: int,
    kubeconfig: str,
    context: str,
    zone_ids: bool,
    zone_label: str,
    region_label: str,
    group_label: tuple[str, ...],
    default_zone: str,
    max_series: tuple[tuple[str, int], ...],
    families: str,
    opencost: bool,
    nodes_as_pods: bool,
    log_level: str,
) -> None:
    """It receives batches from agents, resolves addresses to workloads and zones, and serves
    Prometheus metrics and a JSON API.

    With --topology FILE it needs no Kubernetes. --static works with both kinds of topology.
    """
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    if (http_tls_cert is None) != (http_tls_key is None):
        raise click.UsageError("--http-tls-cert and --http-tls-key go together")
    if sinks and history is None:
        raise click.UsageError("--sink needs --history DIR, where what it has not got yet waits")
    if tls_client_ca and not tls_cert:
        raise click.UsageError("--tls-client-ca needs --tls-cert and --tls-key")
    from kzn.daemon.stop_flag import StopFlag

    stop = StopFlag()
    with stop.catch_signals():  # before the imports, which take a third of a second
        from kzn.daemon import logs
        from kzn.daemon.http.places import HttpLimits
        from kzn.daemon.tls import ServerTlsFiles
        from kzn.history.retention import parse_keep, parse_size
        from kzn.server import fair_loop
        from kzn.server.app import run
        from kzn.server.config import (
            HistoryOptions,
            ServerConfig,
            ledger_limits,
            log_classes,
            node_limit,
        )
        from kzn.server.prices import parse_sources
        from kzn.sinks.registry import parse_store, parse_targets

        logs.set_up(log_level)
        keep = parse_keep(history_keep, parse_size(history_size))
        history_options = None
        if history is not None:
            spool = parse_size(sink_spool, "--sink-spool")
            history_options = HistoryOptions(
                history, keep, history_external, parse_targets(sinks), spool
            )
        config = ServerConfig(
            listen_agents=listen_agents,
            listen_http=listen_http,
            http_limits=HttpLimits(
                connections=http_max_connections,
                connections_per_address=http_max_connections_per_address,
            ),
            http_hosts=http_hosts,
            http_tls=ServerTlsFiles(http_tls_cert, http_tls_key)
            if http_tls_cert and http_tls_key
            else None,
            http_auth=http_auth,
            max_refused_tokens=max_refused_tokens,
            topology=None if topology == "kubernetes" else Path(topology),
            cluster=cluster,
            static=static,
            prices=parse_sources(prices),
            budgets=budgets,
            state=state,
            state_on_mismatch=state_on_mismatch,
            history=history_options,
            history_store=parse_store(history_store) if history_store else None,
            stand_in=stand_in,
            first_scrape_wait=first_scrape_wait,
            created_lines=created_lines == "on",
            flow_log=flow_log,
            flow_log_classes=log_classes(flow_log_classes),
            flow_log_cost=flow_log_cost,
            max_agents=max_agents,
            max_agents_per_address=max_agents_per_address,
            address_share=address_share,
            kubeconfig=kubeconfig,
            context=context,
            zone_ids=zone_ids,
            opencost=opencost,
            zone_label=zone_label,
            region_label=region_label,
            group_labels=group_label,
            default_zone=default_zone,
            tls=ServerTlsFiles(tls_cert, tls_key, tls_client_ca) if tls_cert and tls_key else None,
            auth=auth or ("mtls" if tls_client_ca else "none"),
            agent_accounts=agent_service_account,
            max_nodes=node_limit(dict(max_series)),
            ledger=ledger_limits(
                dict(max_series),
                [name.strip() for name in families.split(",")],
                nodes_as_pods=nodes_as_pods,
            ),
        )
        fair_loop.run(run(config, stop=stop))
