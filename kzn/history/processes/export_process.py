"""An export by a process of its own, as the server sees it: its rows as they come through a pipe.

In: an `Export`. Out: pieces of bytes, as fast as they are taken: the process waits meanwhile.
UsageError for what cannot be exported, before the first piece; KznError if it ends too early.
Never: a process that outlives its export: it is killed when the client goes or the time is over.
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kzn.errors import KznError, UsageError
from kzn.history.export_query import Export
from kzn.history.processes.framing import HEAD, message

PREPARE_SECONDS = 25.0
WRITE_SECONDS = 600.0
PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class About:
    """What is exported: the span that it has (Unix seconds), where it is from, and its rows."""

    begin: int
    end: int
    source: str
    rows: int


class ExportProcess:
    """One export: ``begin``, then ``pieces``, and ``end`` in any case."""

    def __init__(
        self,
        root: Path,
        export: Export,
        *,
        prepare_seconds: float = PREPARE_SECONDS,
        write_seconds: float = WRITE_SECONDS,
    ) -> None:
        self.about = About(0, 0, "", 0)
        self._root = root
        self._export = export
        self._prepare_seconds = prepare_seconds
        self._write_seconds = write_seconds
        self._process: Process | None = None

    async def begin(self) -> None:
        """Start the process and wait for its first answer; what fails has ended it."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "kzn.history.processes.export_child", str(self._root)),
            stdin=PIPE,
            stdout=PIPE,
            process_group=0,
            limit=PIECE,
        )
        try:
            async with asyncio.timeout(self._prepare_seconds):
                answer = await self._answer(self._process)
            self.about = _about(answer)
        except TimeoutError:
            await self.end()
            raise UsageError(
                f"the export could not begin within {self._prepare_seconds:g} s",
                hint="ask for a shorter span or fewer dimensions",
            ) from None
        except BaseException:
            await self.end()
            raise

    async def pieces(self) -> AsyncIterator[bytes]:
        """The bytes of the file; KznError if they do not come to their end."""
        process = self._process
        assert process is not None  # noqa: S101 - entered
        assert process.stdout is not None  # noqa: S101 - a pipe
        deadline = asyncio.get_running_loop().time() + self._write_seconds
        try:
            while True:
                async with asyncio.timeout_at(deadline):
                    piece = await process.stdout.read(PIECE)
                if not piece:
                    break
                yield piece
            async with asyncio.timeout_at(deadline):
                code = await process.wait()
        except TimeoutError:
            raise KznError(f"the export took longer than {self._write_seconds:g} s") from None
        if code:
            raise KznError("the export ended before it was complete")

    async def _answer(self, process: Process) -> Any:
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            process.stdin.write(message(asdict(self._export)))
            await process.stdin.drain()
            process.stdin.close()
            text_size, _ = HEAD.unpack(await process.stdout.readexactly(HEAD.size))
            return json.loads(await process.stdout.readexactly(text_size))
        except (OSError, EOFError) as error:
            raise KznError("history: the export process ended") from error

    async def end(self) -> None:
        """Kill the process if it runs."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        # asyncio sees the end of a process once its pipe was read to the end.
        while process.stdout is not None and await process.stdout.read(PIECE):
            pass
        await process.wait()


def _about(answer: Any) -> About:
    if "error" in answer:
        kind = UsageError if answer["usage"] else KznError
        raise kind(answer["error"], hint=answer["hint"])
    return About(**answer)
