"""The configured topology of a server: one index and the sources that feed it."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kzn.daemon.logs import RateLimited
from kzn.model import ip
from kzn.server.config import ServerConfig
from kzn.topology.index import AddressIndex
from kzn.topology.source import TopologySource, TopologyStats
from kzn.topology.static.file import StaticSource, StaticTopology, load_static

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SourceState:
    """State of one topology source, ``kubernetes`` or ``static``."""

    name: str
    is_ready: bool
    stats: TopologyStats


@dataclass(frozen=True, slots=True)
class Topology:
    """One index and its named sources."""

    index: AddressIndex
    sources: tuple[tuple[str, TopologySource], ...]
    _public: RateLimited = field(default_factory=lambda: RateLimited(_LOG, level=logging.INFO))
    """One line per node and interval: an agent may tell others with each batch."""

    def states(self) -> tuple[SourceState, ...]:
        """The state of each source."""
        return tuple(SourceState(name, s.ready, s.stats()) for name, s in self.sources)

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
                "node %s has %d globally routable addresses by its agent, no longer external: %s",
                node,
                len(public),
                ", ".join(map(ip.text, public)),
            )

    async def run(self) -> None:
        """Update the index until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, source in self.sources:
                tasks.create_task(source.run(), name=f"topology {name}")


def open_topology(config: ServerConfig) -> Topology:
    """The topology of ``config``; UsageError if a file or the kubeconfig cannot be used."""
    agents = frozenset(config.agent_accounts)
    index = AddressIndex(clock=time.monotonic, wall=time.time, agents=agents)
    sources: list[tuple[str, TopologySource]] = []
    if config.topology is None:
        sources.append(("kubernetes", _kubernetes(index, config)))
    files = [path for path in (config.topology, config.static) if path is not None]
    sources += _static(index, files)
    return Topology(index, tuple(sources))


def why_waiting(source: SourceState) -> str:
    """The lists that a source waits for, as text."""
    missing = [r.resource for r in source.stats.resources if not r.is_listed]
    what = f"the first full list of {', '.join(missing)}" if missing else "its first full list"
    return f"the {source.name} topology is waiting for {what}"


def _kubernetes(index: AddressIndex, config: ServerConfig) -> TopologySource:
    # Imported here: a server with static topology needs neither the package nor its import time.
    from kzn.topology.kube.credentials import load_cluster  # noqa: PLC0415
    from kzn.topology.kube.source import KubernetesSource  # noqa: PLC0415

    return KubernetesSource(
        index, load_cluster(config.kubeconfig, config.context), zone_ids=config.zone_ids
    )


def _static(index: AddressIndex, files: Sequence[Path]) -> list[tuple[str, TopologySource]]:
    """All files as one source: an index accepts networks from one source only."""
    if not files:
        return []
    loaded = [load_static(path) for path in files]
    merged = StaticTopology(
        nodes=tuple(node for one in loaded for node in one.nodes),
        pods=tuple(pod for one in loaded for pod in one.pods),
        networks=tuple(network for one in loaded for network in one.networks),
    )
    return [("static", StaticSource(index, merged))]
