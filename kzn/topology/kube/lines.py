"""Lines from the chunks of a watch stream, which is one JSON object per line."""

from kzn.topology.kube.errors import KubeError

MAX_LINE_BYTES = 16 << 20
"""etcd limits an object to 1.5 MB by default; its JSON is a few times that."""


class LineSplitter:
    """Returns complete lines without line ends; buffers at most ``limit`` bytes of the last one."""

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self._limit = limit
        self._open: list[bytes] = []
        self._size = 0

    @property
    def pending(self) -> int:
        """Bytes of the incomplete line."""
        return self._size

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that end in ``chunk``, without empty ones; KubeError when one is too long."""
        first, *rest = chunk.split(b"\n")
        self._open.append(first)
        self._size += len(first)
        if self._size > self._limit:
            raise KubeError(f"a watch event of more than {self._limit} bytes", reason="bad_line")
        if not rest:
            return []
        lines = [b"".join(self._open), *rest[:-1]]
        self._open = [rest[-1]]
        self._size = len(rest[-1])
        return [line for line in lines if line.strip()]
