"""The agent's metrics: kinds, reasons and sums as they are scraped."""

from prometheus_client import CollectorRegistry, generate_latest

from kzn.agent.stats import AgentCollector, AgentStats
from kzn.model.batch import Batch
from kzn.model.flows import Flows
from kzn.model.totals import Counts, Totals


def scraped(stats: AgentStats) -> list[str]:
    registry = CollectorRegistry()
    registry.register(AgentCollector(stats))
    text = generate_latest(registry).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_totals_add_up_over_batches_by_kind_and_reason() -> None:
    stats = AgentStats(probe="postrouting", interval=10.0, attached=("ipv4", "ipv6"))
    totals = Totals(
        seen=Counts(10, 1000),
        missed={"map_full": Counts(2, 200)},
        ignored={"multicast": Counts(1, 50)},
    )
    for sequence in (1, 2):
        stats.add(Batch(sequence, 10, 0, Flows.empty(), totals), seconds=0.5, wall=99.0)
    lines = scraped(stats)
    assert {
        "kzn_agent_seen_bytes_total 2000.0",
        "kzn_agent_seen_packets_total 20.0",
        'kzn_agent_missed_bytes_total{reason="map_full"} 400.0',
        'kzn_agent_ignored_packets_total{reason="multicast"} 2.0',
        "kzn_agent_batches_total 2.0",
        "kzn_agent_cut_seconds_total 1.0",
        "kzn_agent_last_cut_timestamp_seconds 99.0",
        'kzn_agent_hook_attached{hook="ipv6",probe="postrouting"} 1.0',
    } <= set(lines)
