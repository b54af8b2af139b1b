"""Deleted pods and nodes, kept for a time so that late events about them are ignored.

In: pods and nodes as they end. Out: whether a uid is an ended pod, and the pods that ended before
the zone of their node was known. Never: decisions based on that (index.py).
"""

from collections import deque
from typing import Generic, TypeVar

R = TypeVar("R")


class EndedOwners(Generic[R]):
    """Uids of ended owners, each until a time given when it is added; these times never decrease.

    ``R`` is the record kept for a pod without a zone.
    """

    def __init__(self) -> None:
        self._until: deque[tuple[float, str, str]] = deque()
        self._pods: set[str] = set()
        self._without_zone: dict[str, dict[str, R]] = {}

    def __contains__(self, uid: str) -> bool:
        """Whether ``uid`` is a pod that ended."""
        return uid in self._pods

    def remember_pod(self, uid: str, until: float) -> None:
        """Add a pod."""
        self._pods.add(uid)
        self._until.append((until, uid, ""))

    def remember_without_zone(self, uid: str, record: R, node: str, until: float) -> None:
        """Add a pod that ended while the zone of ``node`` was unknown."""
        self._pods.add(uid)
        self._until.append((until, uid, node))
        self._without_zone.setdefault(node, {})[uid] = record

    def remember_node(self, uid: str, until: float) -> None:
        """Add a node."""
        self._until.append((until, uid, ""))

    def take_without_zone(self, node: str) -> list[R]:
        """Remove and return the records that wait for the zone of ``node``."""
        return list(self._without_zone.pop(node, {}).values())

    def expire(self, now: float) -> list[str]:
        """Remove and return the expired uids."""
        expired = []
        while self._until and self._until[0][0] <= now:
            _, uid, node = self._until.popleft()
            self._pods.discard(uid)
            self._drop_record(node, uid)
            expired.append(uid)
        return expired

    def _drop_record(self, node: str, uid: str) -> None:
        waiting = self._without_zone.get(node, {})
        waiting.pop(uid, None)
        if not waiting:
            self._without_zone.pop(node, None)
