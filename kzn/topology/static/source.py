"""Static files as a source of the index, read again when they change.

In: paths. Out: their nodes, pods and networks in the index; log lines and counts of reads.
Never: a file with a mistake in the index: what was read before stays in use.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from kzn.daemon.logs import counted
from kzn.errors import UsageError
from kzn.topology.facts import NodeFacts, PodFacts
from kzn.topology.index import AddressIndex
from kzn.topology.source import FileReads, TopologyStats
from kzn.topology.static.file import StaticTopology, load_static
from kzn.yaml_files import Signature
from kzn.yaml_files import signature as signature_of

_LOG = logging.getLogger(__name__)

POLL_SECONDS = 5.0
"""How often the files are looked at. The kubelet itself takes up to a minute for a ConfigMap."""

_F = TypeVar("_F", NodeFacts, PodFacts)


class StaticSource:
    """Static topologies as one source, since an index accepts networks from one source only.

    ``files`` are looked at again by `run`; without them ``topology`` stays as it is. ``wall`` is
    seconds since the epoch.
    """

    def __init__(
        self,
        index: AddressIndex,
        topology: StaticTopology,
        files: Sequence[Path] = (),
        *,
        wall: Callable[[], float] = lambda: float("-inf"),
        signature: Signature | None = None,
    ) -> None:
        self._index = index
        self._files = tuple(files)
        self._wall = wall
        self._signature = signature
        self._nodes: dict[str, NodeFacts] = {}
        self._pods: dict[tuple[str, str], PodFacts] = {}
        self._used = StaticTopology()
        self._uses = 0
        self._loaded, self._failed, self._is_outdated = 0, 0, False
        self._use(topology)

    @property
    def index(self) -> AddressIndex:
        """The index that has the files' entries."""
        return self._index

    @property
    def cluster(self) -> str:
        """Empty: files have no uid."""
        return ""

    @property
    def ready(self) -> bool:
        """True: the files are complete when they are loaded."""
        return True

    async def run(self) -> None:
        """Look at the files every POLL_SECONDS until cancelled; without files return at once."""
        while self._files:
            await asyncio.sleep(POLL_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Read the files again if one has changed since they were last read, well or not."""
        signature = await asyncio.to_thread(signature_of, self._files)
        if signature == self._signature:
            return
        self._signature = signature
        try:
            topology = await asyncio.to_thread(merged, self._files)
        except UsageError as error:
            self._failed += 1
            self._is_outdated = True
            _LOG.warning("static topology: %s; what was read before stays in use", error)
            return
        self._is_outdated = False
        if topology != self._used:
            self._use(topology)
            _LOG.info(
                "static topology: read again: %s, %s, %s",
                counted(len(topology.nodes), "node"),
                counted(len(topology.pods), "pod"),
                counted(len(topology.networks), "network"),
            )

    def stats(self) -> TopologyStats:
        """The counts of the index, and of reads."""
        reads = FileReads(self._loaded, self._failed, self._is_outdated) if self._files else None
        return TopologyStats(counts=self._index.counts(), reads=reads)

    def _use(self, topology: StaticTopology) -> None:
        """Make ``topology`` the one in use; pods and nodes that stay keep their identity."""
        self._uses += 1
        self._loaded += 1
        pods = {(pod.namespace, pod.name): pod for pod, _ in topology.pods}
        nodes = {node.name: node for node in topology.nodes}
        for name in self._pods.keys() - pods.keys():  # first, so that addresses are free
            self._index.drop_pod(self._pods.pop(name).uid)
        for node in self._nodes.keys() - nodes.keys():
            self._index.drop_node(self._nodes.pop(node).uid)
        for facts in topology.nodes:
            self._nodes[facts.name] = self._identified(facts, self._nodes.get(facts.name))
            self._index.put_node(self._nodes[facts.name])
        for pod, workload in topology.pods:
            name = pod.namespace, pod.name
            self._pods[name] = self._identified(pod, self._pods.get(name))
            self._index.put_pod(self._pods[name], workload)
        if topology.networks != self._used.networks:
            self._index.put_networks(topology.networks)
        self._used = topology

    def _identified(self, facts: _F, known: _F | None) -> _F:
        """The facts with a uid that no deleted pod or node has, and a start.

        What is new in a file that is read again starts now: it may have the address of another.
        """
        if known is not None:
            return replace(facts, uid=known.uid, started=known.started)
        if self._uses == 1:
            return facts
        return replace(facts, uid=f"{facts.uid}#{self._uses}", started=self._wall())


def open_static(
    index: AddressIndex, files: Sequence[Path], *, wall: Callable[[], float]
) -> StaticSource:
    """The source of ``files``, at least one; UsageError if one cannot be read or has a mistake."""
    signature = signature_of(files)  # before the read: a change meanwhile is seen later
    return StaticSource(index, merged(files), files, wall=wall, signature=signature)


def merged(files: Sequence[Path]) -> StaticTopology:
    """The contents of all files; UsageError "FILE:LINE: ..." for the first mistake."""
    loaded = [load_static(path) for path in files]
    return StaticTopology(
        nodes=tuple(node for one in loaded for node in one.nodes),
        pods=tuple(pod for one in loaded for pod in one.pods),
        networks=tuple(network for one in loaded for network in one.networks),
    )
