"""The metrics of the server about itself: its work, its limits, its topology."""

from collections.abc import Iterable, Iterator

from kzn.server.metrics.declaration import BYTE, Kind, Sample, Spec
from kzn.server.resolve.reporting import ReportingCounts
from kzn.server.snapshot import ServerSnapshot
from kzn.server.state.group_commit import CommitStats
from kzn.server.topology import SourceState

_Rows = tuple[Spec, Iterable[Sample]]


def own(snapshot: ServerSnapshot) -> Iterator[_Rows]:
    """All metrics of the server about itself, but for the histogram."""
    yield from _work(snapshot)
    yield from _limits(snapshot)
    yield from _receiving(snapshot)
    yield from _security(snapshot)
    yield from _state(snapshot.state or CommitStats())
    yield from _topology(snapshot)
    yield from _resources(snapshot.sources)


def _one(name: str, kind: Kind, text: str, value: float) -> _Rows:
    return Spec(f"kzn_server_{name}", kind, (), text), [((), value)]


def _work(snapshot: ServerSnapshot) -> Iterator[_Rows]:
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
        f"Bytes by which they do not ({BYTE}).",
        stats.mismatched_bytes,
    )
    yield _one("held_flows", "gauge", "Flows held to be tried again.", snapshot.held_flows)
    yield _one(
        "hold_overflow_flows_total",
        "counter",
        "Flows that could have been held, and were unresolved at once because the hold was full.",
        stats.hold_overflow_flows,
    )
    yield _one("flow_log_lines_total", "counter", "Lines of the flow log written.", log.written)
    yield _one(
        "flow_log_dropped_lines_total",
        "counter",
        "Lines of the flow log dropped because the stream did not take them in time.",
        log.dropped,
    )


def _limits(snapshot: ServerSnapshot) -> Iterator[_Rows]:
    views = snapshot.ledger.views.items()
    label = ("family",)
    yield (
        Spec("kzn_server_series", "gauge", label, "Series that live."),
        [((family,), len(view.keys)) for family, view in views],
    )
    yield (
        Spec("kzn_server_series_limit", "gauge", label, "Series that may live at once."),
        [((family,), view.limit) for family, view in views],
    )
    yield (
        Spec(
            "kzn_server_overflow_bytes_total",
            "counter",
            label,
            f"Bytes in the series other, because the family was at its limit ({BYTE}).",
        ),
        [((family,), view.other) for family, view in views],
    )
    yield (
        Spec(
            "kzn_server_retired_bytes_total",
            "counter",
            label,
            f"Bytes that series had when they ended ({BYTE}).",
        ),
        [((family,), view.retired) for family, view in views],
    )
    yield _one("nodes", "gauge", "Nodes that have sent batches.", len(snapshot.nodes))
    yield from _coverage(snapshot.coverage)


def _coverage(coverage: ReportingCounts) -> Iterator[_Rows]:
    yield _one("nodes_known", "gauge", "Nodes of the topology.", coverage.known)
    yield _one(
        "nodes_reporting",
        "gauge",
        "Nodes whose last batch came within three of its intervals.",
        coverage.reporting,
    )
    yield _one(
        "nodes_without_agent",
        "gauge",
        "Nodes without an agent: what they send is counted where it arrives.",
        coverage.without_agent,
    )
    yield _one(
        "counted_at_destination_bytes_total",
        "counter",
        f"Bytes attributed where they arrived, since their own node has no agent ({BYTE}).",
        coverage.stand_in_bytes,
    )


def _receiving(snapshot: ServerSnapshot) -> Iterator[_Rows]:
    receiver = snapshot.receiver
    yield _one("connections", "gauge", "Agents connected.", receiver.connections)
    yield _one(
        "unfinished_bytes",
        "gauge",
        "Bytes kept of frames not yet whole.",
        receiver.unfinished_bytes,
    )
    for name, text, value in (
        ("accepted_connections", "Connections accepted.", receiver.accepted),
        (
            "throttled_frames",
            "Frames delayed because their address used more than its share of the server.",
            receiver.throttled_frames,
        ),
        ("broken_connections", "Connections that ended amid something.", receiver.broken),
        ("frames", "Frames received.", receiver.frames),
        ("received_bytes", "Bytes of the frames of agents.", receiver.received_bytes),
        ("sent_bytes", "Bytes of the answers to agents.", receiver.sent_bytes),
        ("duplicates", "Batches that had been applied before.", receiver.duplicates),
        ("gaps", "Batches before which at least one never came here.", receiver.gaps),
        (
            "evicted_epochs",
            "Absent agents whose last sequence was forgotten to bound memory.",
            receiver.evicted_epochs,
        ),
    ):
        yield _one(f"{name}_total", "counter", text, value)
    yield (
        Spec("kzn_server_refused_total", "counter", ("reason",), "Connections refused, by reason."),
        [((reason,), number) for reason, number in sorted(receiver.refusals.items())],
    )


def _security(snapshot: ServerSnapshot) -> Iterator[_Rows]:
    security = snapshot.security
    yield (
        Spec(
            "kzn_server_authentication",
            "gauge",
            ("mode",),
            "1 for what agents prove their node with: none, token or mtls.",
        ),
        [((security.mode,), 1)],
    )
    yield (
        Spec(
            "kzn_server_token_reviews_total",
            "counter",
            ("result",),
            "Tokens looked at, by result.",
        ),
        [((result,), number) for result, number in sorted(security.reviews.items())],
    )
    yield (
        Spec(
            "kzn_server_tls_reads_total",
            "counter",
            ("result",),
            "Readings of the TLS files, at the start and after they changed.",
        ),
        [(("loaded",), security.tls_loaded), (("failed",), security.tls_failed)],
    )


def _state(stats: CommitStats) -> Iterator[_Rows]:
    yield _one("state_commits_total", "counter", "Commits to the state file.", stats.commits)
    yield _one(
        "state_commit_seconds_total", "counter", "Time that commits took.", round(stats.seconds, 6)
    )
    yield (
        Spec(
            "kzn_server_state_failures_total",
            "counter",
            ("reason",),
            "Commits that failed and are tried again, by reason.",
        ),
        [((reason,), number) for reason, number in sorted(stats.failures.items())],
    )


def _topology(snapshot: ServerSnapshot) -> Iterator[_Rows]:
    yield (
        Spec(
            "kzn_server_topology_ready",
            "gauge",
            ("source",),
            "1 once everything that exists was listed.",
        ),
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
    yield (
        Spec("kzn_server_topology_size", "gauge", ("kind",), "How much of each kind is known."),
        [((kind,), number) for kind, number in sizes.items()],
    )
    yield _one(
        "topology_evicted_total",
        "counter",
        "Ended ownerships of addresses that were forgotten early to bound memory.",
        counts.evicted_ownerships,
    )


def _resources(sources: Iterable[SourceState]) -> Iterator[_Rows]:
    resources = [resource for source in sources for resource in source.stats.resources]
    label = ("resource",)
    yield (
        Spec(
            "kzn_server_topology_staleness_seconds",
            "gauge",
            label,
            "Seconds since the API server was last heard of this resource.",
        ),
        [((r.resource,), r.staleness) for r in resources],
    )
    yield (
        Spec("kzn_server_topology_events_total", "counter", label, "Watch events received."),
        [((r.resource,), r.events) for r in resources],
    )
    yield (
        Spec("kzn_server_topology_lists_total", "counter", label, "Full lists received."),
        [((r.resource,), r.lists) for r in resources],
    )
    yield (
        Spec(
            "kzn_server_topology_failures_total",
            "counter",
            ("resource", "reason"),
            "Lists, watches and objects that failed, by reason.",
        ),
        [((r.resource, why), n) for r in resources for why, n in sorted(r.failures.items())],
    )
