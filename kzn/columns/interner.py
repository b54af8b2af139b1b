"""Names as small integer codes, dense from 0, so that numpy columns can hold and compare them.

The caller decides when a name is unused (a count of users, or a sweep of all rows) and frees its
code, which the next new name gets.
"""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Interner(Generic[K]):
    """Names ↔ codes. ``names`` is indexed by code; a freed code keeps its last name there."""

    __slots__ = ("_codes", "_free", "_is_shared", "names")

    def __init__(self, names: Iterable[K] = ()) -> None:
        self.names = list(names)
        self._codes = {name: code for code, name in enumerate(self.names)}
        self._free: list[int] = []
        self._is_shared = False

    def share(self) -> list[K]:
        """``names`` for a reader in another thread or later: at most new codes are appended to it.

        No copy is made until a code is used again.
        """
        self._is_shared = True
        return self.names

    def __len__(self) -> int:
        return len(self._codes)

    def get(self, name: K) -> int | None:
        """The code of ``name``, None when it has none."""
        return self._codes.get(name)

    def code(self, name: K) -> int:
        """The code of ``name``, a free or new one if it has none."""
        code = self._codes.get(name)
        if code is not None:
            return code
        if self._free:
            if self._is_shared:
                self.names, self._is_shared = self.names.copy(), False
            code = self._free.pop()
            self.names[code] = name
        else:
            code = len(self.names)
            self.names.append(name)
        self._codes[name] = code
        return code

    def codes(self) -> set[int]:
        """The codes in use."""
        return set(self._codes.values())

    def free(self, code: int) -> None:
        """Give ``code`` to the next new name."""
        del self._codes[self.names[code]]
        self._free.append(code)
