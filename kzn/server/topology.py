"""The configured topology of a server: one index and the sources that feed it."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kzn.daemon.logs import RateLimited, counted
from kzn.model import ip
from kzn.model.settled import ClusterFacts
from kzn.server.config import ServerConfig
from kzn.topology.groups import WorkloadGroups
from kzn.topology.index import AddressIndex
from kzn.topology.rollouts import Rollouts
from kzn.topology.routing import Routing
from kzn.topology.source import TopologySource, TopologyStats
from kzn.topology.static.source import open_static
from kzn.topology.zones import Zones

_MAX_NAMED = 20
"""Most names of a kind in one log line."""
_MAX_REPORTED = 1000
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SourceState:
    """State of one topology source, ``kubernetes`` or ``static``."""

    name: str
    is_ready: bool
    stats: TopologyStats


@dataclass(slots=True)
class _Reported:
    contents: bool = False
    zones: set[tuple[str, str]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Topology:
    """One index and its named sources."""

    index: AddressIndex
    sources: tuple[tuple[str, TopologySource], ...]
    named: str = ""
    """The name of the cluster, empty to use that of the sources."""
    routing: Routing = field(default_factory=Routing)
    """Services with their endpoints, controllers and versions, as far as a source tells them."""
    _public: RateLimited = field(
        default_factory=lambda: RateLimited(_LOG, level=logging.INFO, max_conditions=20_000)
    )
    """One line per node and interval: an agent may tell others with each batch."""
    _reported: _Reported = field(default_factory=_Reported)

    def states(self) -> tuple[SourceState, ...]:
        """The state of each source."""
        return tuple(SourceState(name, s.ready, s.stats()) for name, s in self.sources)

    def cluster(self) -> str:
        """The name of the cluster, else its uid; empty while neither is known."""
        return self.named or next((s.cluster for _, s in self.sources if s.cluster), "")

    def cluster_facts(self) -> ClusterFacts:
        """What the history says of the cluster and its nodes."""
        nodes = self.index.nodes()
        return ClusterFacts(
            self.cluster(), {one.name: one.provider_id for one in nodes if one.provider_id}
        )

    def why_not_ready(self) -> str:
        """Why the topology is not ready; empty when each source has been listed once."""
        return "; ".join(why_waiting(state) for state in self.states() if not state.is_ready)

    def node_of_pod(self, uid: str) -> str:
        """The node of a running pod; empty if the pod is not known."""
        pod = self.index.pod(uid)
        return pod.node if pod is not None else ""

    def take_addresses(self, node: str, addresses: Sequence[bytes]) -> None:
        """The agent of ``node`` told its addresses; the log has the globally routable ones."""
        public = self.index.put_agent_addresses(node, addresses)
        if public:
            self._public.warn(
                node,
                "node %s has %s by its agent, no longer external: %s",
                node,
                counted(len(public), "globally routable address", "globally routable addresses"),
                ", ".join(map(ip.text, public)),
            )

    def report(self) -> None:
        """Log once what a complete topology has, and zone names without an id as they appear."""
        if self.why_not_ready():
            return
        if not self._reported.contents:
            self._reported.contents = True
            _log_contents(self.index)
        new = self.index.zones.failed - self._reported.zones
        if new and len(self._reported.zones) < _MAX_REPORTED:
            self._reported.zones |= new
            _LOG.warning(
                "zones without a known id (--zone-ids), so their traffic is unresolved: %s; label"
                " one node of each with %s, or give ids in the static file",
                _names(f"{name} of region {region or 'unknown'}" for region, name in new),
                "topology.k8s.aws/zone-id",
            )

    async def run(self) -> None:
        """Update the index until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, source in self.sources:
                tasks.create_task(source.run(), name=f"topology {name}")


def open_topology(config: ServerConfig) -> Topology:
    """The topology of ``config``; UsageError if a file or the kubeconfig cannot be used."""
    agents = frozenset(config.agent_accounts)
    zones = Zones(use_ids=config.zone_ids, default_zone=config.default_zone)
    groups = WorkloadGroups(config.group_labels)
    index = AddressIndex(
        clock=time.monotonic, wall=time.time, agents=agents, zones=zones, groups=groups
    )
    routing = Routing()
    sources: list[tuple[str, TopologySource]] = []
    if config.topology is None:
        routing.rollouts = Rollouts(time.time)
        sources.append(("kubernetes", _kubernetes(index, config, routing)))
    files = [path for path in (config.topology, config.static) if path is not None]
    sources += _static(index, files)
    return Topology(index, tuple(sources), config.cluster, routing)


def why_waiting(source: SourceState) -> str:
    """The lists that a source waits for, as text."""
    missing = [r.resource for r in source.stats.resources if not r.is_listed]
    what = f"the first full list of {', '.join(missing)}" if missing else "its first full list"
    return f"the {source.name} topology is waiting for {what}"


def _log_contents(index: AddressIndex) -> None:
    zones, regions, providers = Counter[str](), set[str](), set[str]()
    without_zone = []
    for node in index.nodes():
        zones[node.zone] += bool(node.zone)
        regions.add(node.region)
        providers.add(node.provider)
        if not node.zone:
            without_zone.append(node.name)
    counts = index.counts()
    _LOG.info(
        "topology complete: %s, %s, %s; zones: %s; regions: %s; providers: %s",
        counted(counts.nodes, "node"),
        counted(counts.pods, "pod"),
        counted(counts.networks, "network"),
        _names(f"{zone} ({counted(number, 'node')})" for zone, number in (+zones).items()),
        _names(regions),
        _names(providers),
    )
    if without_zone:
        _LOG.warning(
            "%d of %s without a zone, so their traffic is unresolved: %s; label them, name"
            " another label (--zone-label) or a zone for them (--default-zone)",
            len(without_zone),
            counted(counts.nodes, "node"),
            _names(without_zone),
        )


def _names(found: Iterable[str]) -> str:
    names = sorted(name for name in found if name)
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return (", ".join(names[:_MAX_NAMED]) or "none") + more


def _kubernetes(index: AddressIndex, config: ServerConfig, routing: Routing) -> TopologySource:
    # Imported here: a server with static topology needs neither the package nor its import time.
    from kzn.topology.kube.api_objects import (  # noqa: PLC0415
        REGION_LABELS,
        ZONE_LABELS,
        PlaceLabels,
    )
    from kzn.topology.kube.credentials import load_cluster  # noqa: PLC0415
    from kzn.topology.kube.source import KubernetesSource  # noqa: PLC0415

    places = PlaceLabels(
        (config.zone_label,) if config.zone_label else ZONE_LABELS,
        (config.region_label,) if config.region_label else REGION_LABELS,
    )
    return KubernetesSource(
        index,
        load_cluster(config.kubeconfig, config.context),
        places=places,
        routing=routing,
        asks_uid=not config.cluster,
    )


def _static(index: AddressIndex, files: Sequence[Path]) -> list[tuple[str, TopologySource]]:
    return [("static", open_static(index, files, wall=time.time))] if files else []
