"""Columns of the flows to be logged, with the owners of their addresses.

In: observed flows with their resolution. Out: `FlowRecords`, which need no index any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import I64, U8
from kzn.model.endpoint import Endpoint, EndpointIndex
from kzn.model.flows import Flows
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.retry import ObservedFlows, select


@dataclass(frozen=True, slots=True, eq=False)
class FlowRecords:
    """Flows of one node with their verdicts.

    ``owners`` has an endpoint, or a negative code of kzn.model.endpoint, for each address of
    ``flows``, and as its last entry the node. Numbers of flows: the node is charged for the
    ``forwarded``; the ``rerouted`` go to their ``via``, whose owner is their far end; of the
    ``sent``, the owner of their ``sender`` is charged. ``verdict`` is by flow. ``closed`` is the
    end of the interval, in seconds of the epoch.
    """

    closed: float
    node: str
    flows: Flows
    owners: Sequence[Endpoint | int]
    forwarded: I64
    rerouted: I64
    sent: I64
    verdict: U8

    @staticmethod
    def of(
        observed: ObservedFlows,
        resolution: Resolution,
        chosen: I64,
        index: EndpointIndex,
        closed: float,
    ) -> "FlowRecords":
        """The flows ``chosen``; ``closed`` as above."""
        used, flows = select(observed.flows, chosen)
        node = len(resolution.endpoints) - 1
        return FlowRecords(
            closed=closed,
            node=observed.node,
            flows=flows,
            owners=index.endpoints(resolution.endpoints.take(np.append(used, node)).tolist()),
            forwarded=np.flatnonzero(resolution.src.take(chosen) == node),
            rerouted=_rerouted(observed, resolution, chosen),
            sent=_sent(observed, resolution, chosen),
            verdict=resolution.verdict.take(chosen),
        )

    def __len__(self) -> int:
        return len(self.flows)

    def charged(self) -> tuple[I64, I64]:
        """The rows in ``owners`` of the two ends of each flow."""
        flows = self.flows
        src, dst = flows.src.astype(np.int64), flows.dst.astype(np.int64)
        src[self.forwarded] = len(self.owners) - 1
        if flows.sender is not None:
            src[self.sent] = flows.sender[self.sent]
        if flows.via is not None:
            dst[self.rerouted] = flows.via[self.rerouted]
        return src, dst


def _rerouted(observed: ObservedFlows, resolution: Resolution, chosen: I64) -> I64:
    if observed.flows.via is None:
        return np.zeros(0, np.int64)
    return np.flatnonzero(resolution.dst.take(chosen) != observed.flows.dst.take(chosen))


def _sent(observed: ObservedFlows, resolution: Resolution, chosen: I64) -> I64:
    if observed.flows.sender is None:
        return np.zeros(0, np.int64)
    return np.flatnonzero(resolution.src.take(chosen) == observed.flows.sender.take(chosen))
