"""The metrics of the server about itself: its work, its limits, its topology."""

from collections.abc import Iterable, Iterator

from kzn.daemon.http.stats import http_metrics
from kzn.daemon.metrics import BYTE, Kind, Metric, MetricSamples, Sample, single
from kzn.server.ledger.family import FAMILIES
from kzn.server.metrics.advice import advice_metrics
from kzn.server.metrics.history import history_metrics
from kzn.server.metrics.sinks import sink_metrics
from kzn.server.prices import PriceReads
from kzn.server.resolve.reporting import ReportingCounts
from kzn.server.snapshot import ServerSnapshot
from kzn.server.state.group_commit import CommitStats
from kzn.server.stats import HistoryCounts
from kzn.server.topology import SourceState
from kzn.topology.source import FileReads

NO_FILES = FileReads(loaded=0, failed=0, is_outdated=False)


def server_metrics(snapshot: ServerSnapshot) -> Iterator[MetricSamples]:
    """All metrics of the server about itself except the histogram."""
    yield from _work(snapshot)
    yield from _limits(snapshot)
    yield from _receiving(snapshot)
    yield from _security(snapshot)
    yield from _state(snapshot.state or CommitStats())
    yield from _topology(snapshot)
    yield from _static(snapshot.sources)
    yield from _prices(snapshot.price_reads)
    yield from _resources(snapshot.sources)
    yield from http_metrics("server", snapshot.http)
    yield from history_metrics(snapshot.history or HistoryCounts())
    yield from sink_metrics(snapshot.sinks)
    yield from advice_metrics(snapshot.advice)


def _one(name: str, kind: Kind, text: str, value: float) -> MetricSamples:
    return single(f"kzn_server_{name}", kind, text, value)


def _by(
    labels: tuple[str, ...], name: str, kind: Kind, text: str, samples: Iterable[Sample]
) -> MetricSamples:
    return MetricSamples(Metric(f"kzn_server_{name}", kind, labels, text), samples)


def _work(snapshot: ServerSnapshot) -> Iterator[MetricSamples]:
    stats, log = snapshot.pipeline, snapshot.flow_log
    yield _one("batches_total", "counter", "Batches applied.", stats.batches)
    yield _one("flows_total", "counter", "Flows in the batches applied.", stats.flows)
    yield _one(
        "mismatched_batches_total",
        "counter",
        "Batches whose flows do not add up to their totals.",
        stats.mismatched_batches,
    )
    yield _one(
        "mismatched_bytes_total",
        "counter",
        f"Bytes by which the flows of mismatched batches differ from their totals ({BYTE}).",
        stats.mismatched_bytes,
    )
    yield _by(
        ("reason",),
        "tunnel_assumed_bytes_total",
        "counter",
        f"Bytes of tunnels whose other end the topology does not know ({BYTE}).",
        [((reason,), size) for reason, size in stats.assumed._asdict().items()],
    )
    yield _by(
        ("part",),
        "apply_errors_total",
        "counter",
        "Batches that a part of the server could not take because of an error in kzn.",
        [((part,), number) for part, number in stats.errors.items()],
    )
    yield _one("held_flows", "gauge", "Flows in the retry queue.", snapshot.held_flows)
    yield _one(
        "hold_overflow_flows_total",
        "counter",
        "Flows counted as unresolved without a retry because the retry queue was full.",
        stats.retry_overflow_flows,
    )
    yield _one("flow_log_lines_total", "counter", "Lines written to the flow log.", log.written)
    yield _one(
        "flow_log_dropped_lines_total",
        "counter",
        "Lines of the flow log dropped because stdout did not accept them in time.",
        log.dropped,
    )


def _limits(snapshot: ServerSnapshot) -> Iterator[MetricSamples]:
    views = snapshot.ledger.views.items()
    of_bytes = [(name, view) for name, view in views if FAMILIES[name].unit == "bytes"]
    label = ("family",)
    yield _by(
        label,
        "series",
        "gauge",
        "Live series, by family.",
        [((family,), len(view.keys)) for family, view in views],
    )
    yield _by(
        label,
        "series_limit",
        "gauge",
        "Limit of live series, by family.",
        [((family,), view.limit) for family, view in views],
    )
    yield _by(
        label,
        "overflow_bytes_total",
        "counter",
        f"Bytes in the series other because the family was at its limit ({BYTE}).",
        [((family,), view.other.bytes) for family, view in of_bytes],
    )
    yield _by(
        label,
        "pending_bytes",
        "gauge",
        f"Bytes counted in series that are still exposed at 0, by family ({BYTE}).",
        [((family,), view.pending) for family, view in of_bytes],
    )
    yield _by(
        label,
        "pending_series",
        "gauge",
        "Series that are still exposed at 0, by family.",
        [((family,), int((~view.exposed).sum())) for family, view in views],
    )
    yield _by(
        label,
        "evicted_series_total",
        "counter",
        "Series of deleted endpoints that ended early because the family was near its limit.",
        [((family,), view.evicted) for family, view in views],
    )
    yield _one("scrapes_total", "counter", "Complete scrapes of /metrics.", snapshot.scrapes)
    yield _by(
        label,
        "retired_bytes_total",
        "counter",
        f"Bytes in series that ended ({BYTE}).",
        [((family,), view.retired) for family, view in of_bytes],
    )
    yield _one("nodes", "gauge", "Nodes that have sent batches.", len(snapshot.totals))
    yield from _reporting(snapshot.coverage)


def _reporting(counts: ReportingCounts) -> Iterator[MetricSamples]:
    yield _one("nodes_known", "gauge", "Nodes of the topology.", counts.known)
    yield _one(
        "nodes_reporting",
        "gauge",
        "Nodes that sent a batch within the last three intervals.",
        counts.reporting,
    )
    yield _one(
        "nodes_without_agent",
        "gauge",
        "Nodes without an agent; their traffic is counted at its destination.",
        counts.without_agent,
    )
    yield _one(
        "nodes_agentless",
        "gauge",
        "Nodes without an agent that cannot have one: virtual nodes, and those without Linux.",
        counts.agentless,
    )
    yield _one(
        "counted_at_destination_bytes_total",
        "counter",
        f"Bytes counted at their destination because their own node has no agent ({BYTE}).",
        counts.counted_at_destination_bytes,
    )


def _receiving(snapshot: ServerSnapshot) -> Iterator[MetricSamples]:
    receiver = snapshot.receiver
    yield _one("connections", "gauge", "Connected agents.", receiver.connections)
    yield _one(
        "unfinished_bytes", "gauge", "Bytes of incomplete frames.", receiver.unfinished_bytes
    )
    for name, text, value in (
        ("accepted_connections", "Connections accepted.", receiver.accepted),
        (
            "throttled_frames",
            "Frames delayed because their address used more than its share of the server.",
            receiver.throttled_frames,
        ),
        ("broken_connections", "Connections that ended in the middle of a frame.", receiver.broken),
        ("frames", "Frames received.", receiver.frames),
        ("received_bytes", "Bytes received from agents.", receiver.received_bytes),
        ("sent_bytes", "Bytes sent to agents.", receiver.sent_bytes),
        ("duplicates", "Batches that had already been applied.", receiver.duplicates),
        ("gaps", "Batches preceded by at least one that this server lacks.", receiver.gaps),
        (
            "evicted_epochs",
            "Absent agents whose last sequence was evicted to bound memory.",
            receiver.evicted_epochs,
        ),
    ):
        yield _one(f"{name}_total", "counter", text, value)
    yield _by(
        ("reason",),
        "refused_total",
        "counter",
        "Connections refused, by reason.",
        [((reason,), number) for reason, number in sorted(receiver.refusals.items())],
    )


def _security(snapshot: ServerSnapshot) -> Iterator[MetricSamples]:
    security = snapshot.security
    yield _by(
        ("mode",),
        "authentication",
        "gauge",
        "1 for how agents authenticate: none, token or mtls.",
        [((security.mode,), 1)],
    )
    yield _by(
        ("result",),
        "token_reviews_total",
        "counter",
        "Tokens checked, by result.",
        [((result,), number) for result, number in sorted(security.reviews.items())],
    )
    yield _by(
        ("mode",),
        "http_authentication",
        "gauge",
        "1 for how HTTP clients are authorized: none or kubernetes.",
        [((security.http_mode,), 1)],
    )
    yield _by(
        ("result",),
        "http_authorizations_total",
        "counter",
        "HTTP requests with or without a token, by what was decided.",
        [((result,), number) for result, number in sorted(security.http_decisions.items())],
    )
    yield _by(
        ("result",),
        "tls_reads_total",
        "counter",
        "Reads of the TLS files, at start and after they changed, by result.",
        [(("loaded",), security.tls_loaded), (("failed",), security.tls_failed)],
    )


def _state(stats: CommitStats) -> Iterator[MetricSamples]:
    yield _one("state_commits_total", "counter", "Commits to the state file.", stats.commits)
    yield _one(
        "state_commit_seconds_total",
        "counter",
        "Time spent on commits to the state file.",
        round(stats.seconds, 6),
    )
    yield _by(
        ("reason",),
        "state_failures_total",
        "counter",
        "Failed commits to the state file, by reason; each is retried.",
        [((reason,), number) for reason, number in sorted(stats.failures.items())],
    )


def _topology(snapshot: ServerSnapshot) -> Iterator[MetricSamples]:
    yield _by(
        ("source",),
        "topology_ready",
        "gauge",
        "1 once the source has listed every object.",
        [((source.name,), float(source.is_ready)) for source in snapshot.sources],
    )
    counts = snapshot.sources[0].stats.counts  # all sources feed one index
    sizes = {
        "nodes": counts.nodes,
        "pods": counts.pods,
        "addresses": counts.addresses,
        "networks": counts.networks,
        "services": counts.services,
        "endpoints": counts.endpoints,
        "ended_ownerships": counts.ended_ownerships,
    }
    yield _by(
        ("kind",),
        "topology_size",
        "gauge",
        "Objects in the topology, by kind.",
        [((kind,), number) for kind, number in sizes.items()],
    )
    yield _one(
        "topology_evicted_total",
        "counter",
        "Ended ownerships of addresses evicted early to bound memory.",
        counts.evicted_ownerships,
    )
    yield _one(
        "agent_addresses",
        "gauge",
        "Addresses that agents told of their own nodes, used where the topology has no owner.",
        counts.agent_addresses,
    )
    yield _by(
        ("reason",),
        "agent_addresses_ignored_total",
        "counter",
        "Addresses told by agents and not taken, by reason.",
        [
            ((reason,), counts.ignored_addresses.get(reason, 0))
            for reason in ("not_unicast", "service", "public_limit", "limit")
        ],
    )


def _static(sources: Iterable[SourceState]) -> Iterator[MetricSamples]:
    reads = next((s.stats.reads for s in sources if s.stats.reads is not None), NO_FILES)
    yield _by(
        ("result",),
        "static_reads_total",
        "counter",
        "Reads of the static files, at start and after they changed, by result.",
        [(("loaded",), reads.loaded), (("failed",), reads.failed)],
    )
    yield _one(
        "static_outdated",
        "gauge",
        "1 while a changed static file has a mistake, so that the one before is in use.",
        float(reads.is_outdated),
    )


def _prices(reads: PriceReads) -> Iterator[MetricSamples]:
    yield _by(
        ("result",),
        "price_reads_total",
        "counter",
        "Reads of the price lists' files, at start and after they changed, by result.",
        [(("loaded",), reads.loaded), (("failed",), reads.failed)],
    )
    yield _one(
        "prices_outdated",
        "gauge",
        "1 while a changed price list has a mistake, so that the one before is in use.",
        float(reads.is_outdated),
    )


def _resources(sources: Iterable[SourceState]) -> Iterator[MetricSamples]:
    resources = [resource for source in sources for resource in source.stats.resources]
    label = ("resource",)
    yield _by(
        label,
        "topology_staleness_seconds",
        "gauge",
        "Seconds since the API server last sent a list page, event or bookmark, by resource.",
        [((r.resource,), r.staleness) for r in resources],
    )
    yield _by(
        label,
        "topology_events_total",
        "counter",
        "Watch events received, by resource.",
        [((r.resource,), r.events) for r in resources],
    )
    yield _by(
        label,
        "topology_lists_total",
        "counter",
        "Full lists received, by resource.",
        [((r.resource,), r.lists) for r in resources],
    )
    yield _by(
        ("resource", "reason"),
        "topology_failures_total",
        "counter",
        "Failed lists, watches and objects, by resource and reason.",
        [((r.resource, why), n) for r in resources for why, n in sorted(r.failures.items())],
    )
