"""Graves: who ended, for as long as somebody may still speak of them.

In: pods and nodes as they end. Out: whether a uid is one of these, and the pods that ended before
it was known where their node is. Never: the choice what follows from that (index.py).
"""

from collections import deque
from typing import Generic, TypeVar

R = TypeVar("R")


class EndedOwners(Generic[R]):
    """Uids with what was known of them, each until a time of its own; times never go back."""

    def __init__(self) -> None:
        self._until: deque[tuple[float, str, str]] = deque()
        self._pods: set[str] = set()
        self._homeless: dict[str, dict[str, R]] = {}

    def __contains__(self, uid: str) -> bool:
        """Whether this was a pod."""
        return uid in self._pods

    def bury_pod(self, uid: str, until: float) -> None:
        """A pod ended."""
        self._pods.add(uid)
        self._until.append((until, uid, ""))

    def bury_homeless(self, uid: str, record: R, node: str, until: float) -> None:
        """A pod ended, and where ``node`` is was not known yet."""
        self._pods.add(uid)
        self._until.append((until, uid, node))
        self._homeless.setdefault(node, {})[uid] = record

    def bury_node(self, uid: str, until: float) -> None:
        """A node ended."""
        self._until.append((until, uid, ""))

    def found(self, node: str) -> list[R]:
        """It is known now where this node is: the pods of it that waited for that."""
        return list(self._homeless.pop(node, {}).values())

    def forgotten(self, now: float) -> list[str]:
        """The uids of which nobody speaks any more."""
        gone = []
        while self._until and self._until[0][0] <= now:
            _, uid, node = self._until.popleft()
            self._pods.discard(uid)
            self._leave(node, uid)
            gone.append(uid)
        return gone

    def _leave(self, node: str, uid: str) -> None:
        waiting = self._homeless.get(node, {})
        waiting.pop(uid, None)
        if not waiting:
            self._homeless.pop(node, None)
