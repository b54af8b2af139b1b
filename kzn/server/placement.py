"""Samples in which zones each workload has pods, for the log of what was rolled out.

In: the index. Out: a sample every `PERIOD_SECONDS` into `Rollouts`. Never: a sample of a topology
that is not complete, or more than `PIECE` pods between two turns of the event loop.
"""

import asyncio
from collections.abc import Awaitable, Callable

from kzn.topology.facts import Workload
from kzn.topology.index import AddressIndex
from kzn.topology.rollouts import Rollouts

PERIOD_SECONDS = 120.0
"""A sample of 150,000 pods takes 0.15 to 0.3 s of CPU: two in a thousand."""
PIECE = 2_000
"""Pods between two turns of the event loop: about 2 ms."""


class PlacementSampler:
    """Feeds ``rollouts``; ``why_not_ready`` is empty once the topology is complete."""

    def __init__(
        self,
        index: AddressIndex,
        rollouts: Rollouts,
        why_not_ready: Callable[[], str],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._index = index
        self._rollouts = rollouts
        self._why_not_ready = why_not_ready
        self._sleep = sleep

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            if not self._why_not_ready():
                await self.sample()
            await self._sleep(PERIOD_SECONDS)

    async def sample(self) -> None:
        """Take one."""
        index = self._index
        zones = {node.name: node.zone for node in index.nodes()}
        found: dict[str, set[tuple[str, Workload]]] = {}
        seen = 0
        for node in index.nodes_of_pods():
            zone = zones.get(node, "")
            if not zone:
                continue
            here, pods = found.setdefault(zone, set()), index.pods_of(node)
            for pod, workload in pods:
                if workload is not None and not (pod.is_finished or pod.is_deleting):
                    here.add((pod.namespace, workload))
            seen += len(pods)
            if seen >= PIECE:
                seen = 0
                await asyncio.sleep(0)
        self._rollouts.take(await asyncio.to_thread(self._rollouts.compare, found))
