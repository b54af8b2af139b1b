"""What a rule is: a name, what it looks for, and a function from the world to drafts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kzn.advisor.proposal import Draft
from kzn.advisor.world import World

API = 1


@dataclass(frozen=True, slots=True)
class Rule:
    """A plugin of the group ``kzn.advice``.

    ``propose`` is pure, and yields nothing where the data does not show its ``signature``.
    """

    name: str
    signature: str
    propose: Callable[[World], Iterable[Draft]]
    api: int = API
