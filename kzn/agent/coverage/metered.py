"""A spool whose cuts are kept out of the meter's windows: a cut changes the active buffer."""

from kzn.agent.coverage.hook_coverage import Meter
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.spool import Spool
from kzn.model.batch import Batch


class MeteredSpool(Spool):
    """As `Spool`; the meter is not looking while it cuts."""

    def __init__(self, maps: MapSet, meter: Meter) -> None:
        super().__init__(maps)
        self._meter = meter

    def cut(self) -> Batch:
        """As `Spool.cut`."""
        with self._meter.paused():
            return super().cut()
