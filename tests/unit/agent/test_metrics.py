"""The agent's metrics as they are scraped."""

from prometheus_client import CollectorRegistry, generate_latest

from kzn.agent.maps.buffers import Entries
from kzn.agent.metrics import agent_metrics
from kzn.agent.stats import AgentStats
from kzn.daemon.prometheus import MetricCollector
from kzn.model.totals import Counts


def scraped(stats: AgentStats) -> list[str]:
    registry = CollectorRegistry()
    registry.register(MetricCollector(lambda: agent_metrics(stats)))
    text = generate_latest(registry).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_a_scrape_has_what_the_agent_counted() -> None:
    stats = AgentStats("postrouting", 10.0, attached=("ipv4", "ipv6"), batches=2, last_cut=99.0)
    stats.bytes["seen", ""] = stats.packets["seen", ""] = 2000
    stats.bytes["missed", "map_full"] = stats.packets["missed", "map_full"] = 400
    stats.bytes["ignored", "multicast"] = stats.packets["ignored", "multicast"] = 2
    stats.delivery.failures["connect"] = 3
    stats.lower_port["udp"] = Counts(7, 700)
    stats.reattached["ipv6"] = 2
    assert {
        "kzn_agent_seen_bytes_total 2000.0",
        "kzn_agent_seen_packets_total 2000.0",
        'kzn_agent_missed_bytes_total{reason="map_full"} 400.0',
        'kzn_agent_ignored_packets_total{reason="multicast"} 2.0',
        "kzn_agent_batches_total 2.0",
        'kzn_agent_lower_port_packets_total{protocol="udp"} 7.0',
        'kzn_agent_lower_port_bytes_total{protocol="udp"} 700.0',
        'kzn_agent_lower_port_bytes_total{protocol="tcp"} 0.0',
        "kzn_agent_last_cut_timestamp_seconds 99.0",
        'kzn_agent_hook_attached{hook="ipv6",probe="postrouting"} 1.0',
        'kzn_agent_delivery_failures_total{reason="connect"} 3.0',
        'kzn_agent_reattached_total{hook="ipv4",probe="postrouting"} 0.0',
        'kzn_agent_reattached_total{hook="ipv6",probe="postrouting"} 2.0',
    } <= set(scraped(stats))


def test_what_is_in_use_of_rows_and_hash_is_told_by_buffer() -> None:
    stats = AgentStats("postrouting", 10.0, capacity=64, row_capacity=128)
    lines = [line for line in scraped(stats) if "kzn_agent_map" in line]
    assert lines == [
        'kzn_agent_map_capacity{table="rows"} 128.0',
        'kzn_agent_map_capacity{table="hash"} 64.0',
    ]
    stats.entries = {1: Entries(128, 7), 0: Entries(5, 0)}
    assert {
        'kzn_agent_map_entries{buffer="0",table="rows"} 5.0',
        'kzn_agent_map_entries{buffer="0",table="hash"} 0.0',
        'kzn_agent_map_entries{buffer="1",table="rows"} 128.0',
        'kzn_agent_map_entries{buffer="1",table="hash"} 7.0',
    } <= set(scraped(stats))


def test_an_unknown_coverage_has_no_sample() -> None:
    def coverage(ratio: float | None) -> list[str]:
        lines = scraped(AgentStats("postrouting", 10.0, coverage=ratio))
        return [line for line in lines if line.startswith("kzn_agent_hook_coverage_ratio")]

    assert coverage(None) == []
    assert coverage(0.5) == ["kzn_agent_hook_coverage_ratio 0.5"]
