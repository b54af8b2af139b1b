"""A batch: one buffer of one node, its flows and its totals, under a number applied once."""

from dataclasses import dataclass

from kzn.model.flows import Flows
from kzn.model.totals import Totals


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The contents of one buffer between two switches of the buffers.

    ``opened_ms_ago`` and ``closed_ms_ago`` are ages in milliseconds at the moment of sending,
    not timestamps: the server subtracts them from its own clock, so addresses are
    resolved at the right time even if the clock of the node is wrong.
    """

    sequence: int
    opened_ms_ago: int
    closed_ms_ago: int
    flows: Flows
    totals: Totals


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """The agent of a connection: node, map epoch (random, new with new maps), probe, version.

    ``process`` is random, one for each agent process, and ``interval_ms`` the time between two
    batches; both are 0 of an older agent, which does not tell them.
    """

    node: str
    epoch: int
    probe: str
    version: str
    process: int = 0
    interval_ms: int = 0
