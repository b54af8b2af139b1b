"""Makes the recorder of a server from its options.

In: the options of the history. Out: a recorder on a locked directory. UsageError without DuckDB,
KznError for a directory that cannot be used.
"""

from collections.abc import Callable

from kzn.errors import KznError
from kzn.history.directory import Journal, open_directory
from kzn.history.segments import HOUR
from kzn.history.writer_process import WriterProcess, check_installed
from kzn.server.config import HistoryOptions
from kzn.server.recording.fold import Fold
from kzn.server.recording.recorder import Recorder, RecorderClock
from kzn.server.settled_totals import VERDICT_NAMES


def open_recorder(options: HistoryOptions, epoch_of: Callable[[float], float]) -> Recorder:
    """A recorder that has not started; it locks the directory for as long as the process lives.

    ``epoch_of`` converts the index's clock to Unix seconds.
    """
    check_installed()
    directory = open_directory(options.directory)
    try:
        journal = Journal(options.directory)
    except OSError as error:
        directory.close()
        raise KznError(f"history {options.directory}: {error.strerror}") from error
    return Recorder(
        WriterProcess(directory, VERDICT_NAMES, options.keep),
        Fold(options.external),
        RecorderClock(epoch_of),
        journal=journal,
        max_age=options.keep.raw - 2 * HOUR,
    )
