"""What kzn counted: its flows as JSON, summed per address pair and protocol.

In: the server's flow log, a line at a time, or what `kzn inspect-map --json` prints.
Out: bytes and packets per `WireKey`. Never: keeps a line.
"""

import json
import threading
from typing import IO, Any

from kzn.demo.report import PROTOCOL_NAMES
from kzn.errors import KznError
from kzn.lab.witness import WireKey
from kzn.model.totals import Counts

NUMBERS = {name: number for number, name in PROTOCOL_NAMES.items()}


class FlowBook(threading.Thread):
    """Reads the flow log to its end in a thread of its own."""

    def __init__(self, log: IO[bytes]) -> None:
        super().__init__(name="flow-log", daemon=True)
        self._log = log
        self._lock = threading.Lock()
        self._sums: dict[WireKey, Counts] = {}
        self._strange = b""
        self.start()

    def run(self) -> None:
        """Sum the lines until the server closes its end."""
        for line in self._log:
            try:
                self._add(line)
            except (KeyError, TypeError, ValueError):
                self._strange = self._strange or line

    def copy(self) -> dict[WireKey, Counts]:
        """The sums at this moment; KznError when a line was no flow."""
        if self._strange:
            raise KznError(f"flow log: not a flow: {self._strange[:200]!r}")
        with self._lock:
            return dict(self._sums)

    def finish(self, seconds: float) -> dict[WireKey, Counts]:
        """The sums when the log has ended; KznError when it does not end in time."""
        self.join(seconds)
        if self.is_alive():
            raise KznError(f"flow log: no end within {seconds:.0f} s after the server's")
        return self.copy()

    def _add(self, line: bytes) -> None:
        with self._lock:
            _add(self._sums, json.loads(line))


def snapshot_sums(text: str) -> dict[WireKey, Counts]:
    """What is in the maps of a node, as `kzn inspect-map --json` prints it; KznError otherwise."""
    sums: dict[WireKey, Counts] = {}
    try:
        for snapshot in json.loads(text):
            for flow in snapshot["flows"]:
                _add(sums, flow)
    except (KeyError, TypeError, ValueError) as error:
        raise KznError(f"kzn inspect-map: not flows: {text[:200]!r}") from error
    return sums


def _add(sums: dict[WireKey, Counts], flow: dict[str, Any]) -> None:
    protocol = str(flow["protocol"])
    number = NUMBERS[protocol] if protocol in NUMBERS else int(protocol)
    key = WireKey(flow["src"], flow["dst"], number)
    counts = Counts(int(flow["packets"]), int(flow["bytes"]))
    sums[key] = sums.get(key, Counts()).plus(counts)
