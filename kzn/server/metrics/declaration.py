"""What a metric is called, what kind it is, its labels and its help: the form of all of them."""

from typing import Literal, NamedTuple

BYTE = "L3 bytes on the wire, docs/accuracy.md"

Kind = Literal["counter", "gauge", "histogram"]


class Spec(NamedTuple):
    """One metric family; ``name`` as PromQL has it, a counter's with ``_total``."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


Sample = tuple[tuple[str, ...], float]
"""Label values and the value."""
