"""The agent's metrics, made of `AgentStats` at each scrape; docs/metrics.md is the contract."""

from collections.abc import Iterator

from kzn.agent.deliver.connection import ShipStats
from kzn.agent.stats import TASKS, AgentStats
from kzn.daemon.http.stats import http_metrics
from kzn.daemon.metrics import BYTE, Metric, MetricSamples, single

_TRAFFIC = {
    "seen": ("that the hook saw", ()),
    "missed": ("that the hook saw and that are in no flow, by reason", ("reason",)),
    "ignored": ("that the hook saw and that cannot cross a zone, by reason", ("reason",)),
}


def agent_metrics(stats: AgentStats) -> Iterator[MetricSamples]:
    """All metrics of an agent."""
    yield from _traffic(stats)
    yield from _lower_port(stats)
    yield from _cuts(stats)
    yield from _hooks(stats)
    yield from _delivery(stats.delivery)
    yield from http_metrics("agent", stats.http)


def _traffic(stats: AgentStats) -> Iterator[MetricSamples]:
    for kind, (text, labels) in _TRAFFIC.items():
        rows = [
            ((reason,)[: len(labels)], packets, stats.bytes[of_kind, reason])
            for (of_kind, reason), packets in sorted(stats.packets.items())
            if of_kind == kind
        ]
        yield MetricSamples(
            Metric(f"kzn_agent_{kind}_packets_total", "counter", labels, f"Packets {text}."),
            [(values, packets) for values, packets, _ in rows],
        )
        yield MetricSamples(
            Metric(f"kzn_agent_{kind}_bytes_total", "counter", labels, f"Bytes {text} ({BYTE})."),
            [(values, size) for values, _, size in rows],
        )


def _lower_port(stats: AgentStats) -> Iterator[MetricSamples]:
    text = "in flows whose service port is the lower one, as nothing told which end it is"
    rows = sorted(stats.lower_port.items())
    yield MetricSamples(
        Metric("kzn_agent_lower_port_packets_total", "counter", ("protocol",), f"Packets {text}."),
        [((protocol,), counts.packets) for protocol, counts in rows],
    )
    yield MetricSamples(
        Metric(
            "kzn_agent_lower_port_bytes_total",
            "counter",
            ("protocol",),
            f"Bytes {text} ({BYTE}).",
        ),
        [((protocol,), counts.bytes) for protocol, counts in rows],
    )


def _cuts(stats: AgentStats) -> Iterator[MetricSamples]:
    yield single(
        "kzn_agent_batches_total",
        "counter",
        "Batches cut from the kernel's buffers.",
        stats.batches,
    )
    yield single("kzn_agent_flows_total", "counter", "Flows in all batches cut.", stats.flows)
    yield single(
        "kzn_agent_cut_seconds_total", "counter", "Time spent cutting batches.", stats.cut_seconds
    )
    yield single("kzn_agent_cut_failures_total", "counter", "Failed cuts.", stats.cut_failures)
    yield single(
        "kzn_agent_clear_failures_total",
        "counter",
        "Acknowledged batches that the kernel did not clear at once; retried, not sent again.",
        stats.clear_failures,
    )
    yield single(
        "kzn_agent_retired_failures_total",
        "counter",
        "Failed attempts to deliver what a replaced probe counted; retried each interval.",
        stats.retired_failures,
    )
    yield MetricSamples(
        Metric(
            "kzn_agent_task_failures_total",
            "counter",
            ("task",),
            "Failures of background tasks, which the agent starts again, by task.",
        ),
        [((task,), stats.task_failures[task]) for task in TASKS],
    )
    yield single(
        "kzn_agent_lost_sets_total",
        "counter",
        "Pinned sets of maps that were damaged, of an incompatible version, or too many to be kept;"
        " their counts since the last delivered batch are lost.",
        stats.lost_sets,
    )
    yield single(
        "kzn_agent_lost_bytes_total",
        "counter",
        f"Upper bound of the bytes in these sets, as far as their totals can be read ({BYTE}).",
        stats.lost_bytes,
    )
    yield single(
        "kzn_agent_mismatches_total",
        "counter",
        "Batches whose flows do not add up to their totals; above 0 it is a defect of kzn.",
        stats.mismatches,
    )
    yield single("kzn_agent_flows_last", "gauge", "Flows in the last batch.", stats.last_flows)
    yield single(
        "kzn_agent_flows_capacity", "gauge", "Flows that a buffer holds at least.", stats.capacity
    )
    yield from _tables(stats)
    yield single(
        "kzn_agent_last_cut_timestamp_seconds",
        "gauge",
        "Unix time of the last cut, 0 before the first.",
        stats.last_cut,
    )
    yield single("kzn_agent_interval_seconds", "gauge", "Seconds between cuts.", stats.interval)


def _tables(stats: AgentStats) -> Iterator[MetricSamples]:
    found = sorted(stats.entries.items())
    used = [((str(number), "rows"), each.rows) for number, each in found]
    used += [((str(number), "hash"), each.in_hash) for number, each in found]
    yield MetricSamples(
        Metric(
            "kzn_agent_map_entries",
            "gauge",
            ("buffer", "table"),
            "Rows and entries of the hash behind them in use, by buffer, when it was cut, or at the"
            " last look at the active one while a batch waits for a server.",
        ),
        used,
    )
    yield MetricSamples(
        Metric(
            "kzn_agent_map_capacity",
            "gauge",
            ("table",),
            "Rows, and entries of the hash behind them, that a buffer has.",
        ),
        [(("rows",), stats.row_capacity), (("hash",), stats.capacity)],
    )


def _hooks(stats: AgentStats) -> Iterator[MetricSamples]:
    yield single(
        "kzn_agent_uplinks",
        "gauge",
        "Network devices by which packets leave this node (uplinks) that are up.",
        stats.uplinks,
    )
    yield single(
        "kzn_agent_told_addresses",
        "gauge",
        "Addresses of this node that the agent tells servers.",
        stats.told_addresses,
    )
    yield single(
        "kzn_agent_tunnels_without_room_bytes_total",
        "counter",
        "Bytes that this node encapsulated, counted by their inner addresses alone: the kernel had"
        " no room for the far end of the tunnel.",
        stats.tunnels_without_room_bytes,
    )
    yield MetricSamples(
        Metric("kzn_agent_hook_attached", "gauge", ("probe", "hook"), "1 for each attached hook."),
        [((stats.probe, hook), 1) for hook in stats.attached],
    )
    yield MetricSamples(
        Metric(
            "kzn_agent_reattached_total",
            "counter",
            ("probe", "hook"),
            "How often a hook was attached again after another program had detached it.",
        ),
        [
            ((stats.probe, hook), stats.reattached[hook])
            for hook in sorted({*stats.attached, *stats.reattached})
        ],
    )
    yield single(
        "kzn_agent_switch_uncounted_bytes_total",
        "counter",
        f"Upper bound of the bytes not counted while these programs replaced others ({BYTE}).",
        stats.uncounted_bytes,
    )
    yield MetricSamples(
        Metric(
            "kzn_agent_hook_coverage_ratio",
            "gauge",
            (),
            "Bytes that the hook saw leave through the uplinks, divided by the bytes that the"
            " uplinks sent; absent while it cannot be measured.",
        ),
        [] if stats.coverage is None else [((), stats.coverage)],
    )


def _delivery(stats: ShipStats) -> Iterator[MetricSamples]:
    yield single("kzn_agent_connected", "gauge", "1 while connected to a server.", stats.connected)
    for name, text, value in (
        ("connects", "Connections that a server accepted.", stats.connects),
        ("sent", "Batches sent, retries included.", stats.sent),
        ("sent_bytes", "Bytes sent to the server.", stats.sent_bytes),
        ("acked", "Batches acknowledged by a server.", stats.acked),
        (
            "duplicates",
            "Acknowledged batches that the server had applied before.",
            stats.duplicates,
        ),
        (
            "failover_batches",
            "Batches sent to a second server after the first did not acknowledge them;"
            " they may be counted twice.",
            stats.failovers,
        ),
    ):
        yield single(f"kzn_agent_{name}_total", "counter", text, value)
    yield MetricSamples(
        Metric(
            "kzn_agent_delivery_failures_total",
            "counter",
            ("reason",),
            "Failed attempts to deliver a batch, by reason.",
        ),
        [((reason,), count) for reason, count in sorted(stats.failures.items())],
    )
