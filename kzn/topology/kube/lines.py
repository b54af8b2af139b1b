"""Lines out of chunks: a watch is one JSON object a line, cut anywhere by the network."""

from kzn.topology.kube.errors import KubeError

MAX_LINE_BYTES = 16 << 20
"""etcd takes objects of 1.5 MB unless told otherwise; JSON of them is a few times that."""


class LineSplitter:
    """Gives whole lines, without their ends; keeps at most ``limit`` bytes of an open one."""

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self._limit = limit
        self._open: list[bytes] = []
        self._size = 0

    @property
    def pending(self) -> int:
        """Bytes of a line that has not ended."""
        return self._size

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that end in ``chunk``, empty ones left out; KubeError when one is too long."""
        first, *rest = chunk.split(b"\n")
        self._open.append(first)
        self._size += len(first)
        if self._size > self._limit:
            raise KubeError(f"a watch line of more than {self._limit} bytes", reason="bad_line")
        if not rest:
            return []
        lines = [b"".join(self._open), *rest[:-1]]
        self._open = [rest[-1]]
        self._size = len(rest[-1])
        return [line for line in lines if line.strip()]
