"""The counts of kzn: its flows as JSON, summed by address pair and protocol.

In: the server's flow log, line by line, or the output of `kzn inspect-map --json`.
Out: `Counts` by `WireKey`. Never: keeps a line.
"""

import json
import threading
from typing import IO, Any

from kzn.demo.report import PROTOCOL_NAMES
from kzn.errors import KznError
from kzn.lab.witness import WireKey
from kzn.model.totals import Counts

NUMBERS = {name: number for number, name in PROTOCOL_NAMES.items()}


class FlowLogReader(threading.Thread):
    """A thread that reads the flow log to its end."""

    def __init__(self, log: IO[bytes]) -> None:
        super().__init__(name="flow-log", daemon=True)
        self._log = log
        self._lock = threading.Lock()
        self._sums: dict[WireKey, Counts] = {}
        self._invalid = b""
        self.start()

    def run(self) -> None:
        """Sum the lines until the server closes the pipe."""
        for line in self._log:
            try:
                self._add(line)
            except (KeyError, TypeError, ValueError):
                self._invalid = self._invalid or line

    def copy(self) -> dict[WireKey, Counts]:
        """The sums so far; KznError if a line was not a flow."""
        if self._invalid:
            raise KznError(f"flow log: not a flow: {self._invalid[:200]!r}")
        with self._lock:
            return dict(self._sums)

    def finish(self, seconds: float) -> dict[WireKey, Counts]:
        """The sums at the end of the log; KznError if it does not end in time."""
        self.join(seconds)
        if self.is_alive():
            raise KznError(f"flow log: still open {seconds:.0f} s after the server ended")
        return self.copy()

    def _add(self, line: bytes) -> None:
        with self._lock:
            _add(self._sums, json.loads(line))


def snapshot_sums(text: str) -> dict[WireKey, Counts]:
    """Sums of the output of `kzn inspect-map --json`; KznError if it is not that."""
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
