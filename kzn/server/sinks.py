"""What a pipeline feeds besides its own state: flow log, recorder, OpenCost counters, cost meter.

Protocols alone; the rooms that implement them do not know the pipeline.
"""

from collections.abc import Sequence
from typing import Protocol

from kzn.columns.arrays import I64
from kzn.model.endpoint import EndpointIndex
from kzn.model.flows import Flows
from kzn.server.ledger.prices_in_use import PricesInUse
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.retry import ObservedFlows
from kzn.server.stats import HistoryCounts


class FlowSink(Protocol):
    """Takes flows with a final verdict; must not block."""

    def offer(
        self, observed: ObservedFlows, resolution: Resolution, chosen: I64, index: EndpointIndex
    ) -> None:
        """Take the flows ``chosen`` of ``observed``."""
        ...


class OpenCostSink(FlowSink, Protocol):
    """A sink with counters of pods that end some time after them."""

    def sweep(self, index: EndpointIndex) -> None:
        """End what belongs to pods that were deleted."""
        ...


class Meter(Protocol):
    """Prices the bytes of the ledger (kzn.server.cost)."""

    def tick(self, now: float) -> None:
        """Use the prices of this time; settle if that is due."""
        ...

    def settle(self, now: float) -> None:
        """Price all bytes that came since the last call."""
        ...

    def prices(self) -> PricesInUse:
        """The prices of zone pairs."""
        ...


class RecorderSink(FlowSink, Protocol):
    """A sink with books that are part of each snapshot, which takes joined batches at once."""

    def offer_joined(
        self,
        flows: Flows,
        closed: Sequence[float],
        part: I64,
        resolution: Resolution,
        chosen: I64,
        index: EndpointIndex,
    ) -> None:
        """Take the flows ``chosen``; each is of the batch ``part``, whose interval ended then."""
        ...

    def counts(self) -> HistoryCounts | None:
        """The books now; None without books."""
        ...
