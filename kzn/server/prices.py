"""The price lists that a server uses, read again when their files change.

In: the installed lists, and paths. Out: a `PriceBook`, a new one after each change; counts of
reads. Never: a file with a mistake in the book: what was read before stays in use.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kzn.errors import UsageError
from kzn.pricing.book import PriceBook
from kzn.pricing.declaration import PriceList
from kzn.pricing.registry import installed, usable
from kzn.pricing.table import Place
from kzn.topology.describe import price_class_of
from kzn.topology.facts import Network, NodeFacts

_LOG = logging.getLogger(__name__)

POLL_SECONDS = 5.0
"""How often the files are looked at, as those of the static topology."""


@dataclass(frozen=True, slots=True)
class PriceSources:
    """``--prices``: whether the installed lists are used, and the files. Neither: no prices."""

    shipped: bool = True
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class PriceReads:
    """Reads of the files, by result. ``is_outdated``: the last one failed."""

    loaded: int = 0
    failed: int = 0
    is_outdated: bool = False


class Prices:
    """The book in use. It is replaced, never changed: a caller compares it by identity."""

    def __init__(self, sources: PriceSources, lists: Iterable[PriceList] | None = None) -> None:
        """UsageError if a file cannot be read or has a mistake. ``lists`` are those installed."""
        self._sources = sources
        is_used = sources.shipped or bool(sources.files)
        found = usable(installed()) if lists is None and is_used else lists or ()
        self._installed = tuple(found)
        self._signature = self._look_at_files()  # before the read: a change meanwhile is seen later
        self._reads = PriceReads(loaded=1 if sources.files else 0)
        self.book: PriceBook | None = self._read() if is_used else None
        if self.book is not None:
            _LOG.info("prices: lists %s", _names(self.book))

    def reads(self) -> PriceReads:
        """How often the files were read."""
        return self._reads

    async def run(self) -> None:
        """Look at the files every POLL_SECONDS until cancelled; without files return at once."""
        while self._sources.files:
            await asyncio.sleep(POLL_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Read the files again if one has changed since they were last read, well or not."""
        signature = await asyncio.to_thread(self._look_at_files)
        if signature == self._signature:
            return
        self._signature = signature
        loaded, failed = self._reads.loaded, self._reads.failed
        try:
            book = await asyncio.to_thread(self._read)
        except UsageError as error:
            self._reads = PriceReads(loaded, failed + 1, is_outdated=True)
            _LOG.warning("prices: %s; what was read before stays in use", error)
            return
        self._reads = PriceReads(loaded + 1, failed)
        if self.book is None or book.lists != self.book.lists:
            self.book = book
            _LOG.info("prices: read again: lists %s", _names(book))

    def _read(self) -> PriceBook:
        files = _load(self._sources.files, self._installed)
        return PriceBook(files, self._installed if self._sources.shipped else ())

    def _look_at_files(self) -> object:
        if not self._sources.files:
            return ()
        from kzn.yaml_files import signature  # noqa: PLC0415 - yaml only for who has files

        return signature(self._sources.files)


def _names(book: PriceBook) -> str:
    lists = [f"{one.name} ({one.provider}, {one.date})" for one in book.lists + book.defaults]
    return ", ".join(lists) or "none: no package has one"


def _load(files: Sequence[Path], lists: Iterable[PriceList]) -> list[PriceList]:
    if not files:
        return []
    from kzn.pricing.file import load_list  # noqa: PLC0415 - yaml only for who has files

    return [load_list(path, lists) for path in files]


def parse_sources(text: str) -> PriceSources:
    """``auto``, ``off`` or ``FILE[,FILE]``, where ``auto`` may be one; UsageError."""
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise UsageError(f"--prices {text!r} has an empty name", hint="auto, off or FILE[,FILE]")
    if "off" in words and len(words) > 1:
        raise UsageError("--prices off excludes others", hint="auto, off or FILE[,FILE]")
    if words == ["off"]:
        return PriceSources(shipped=False)
    files = tuple(Path(word) for word in words if word != "auto")
    return PriceSources(shipped="auto" in words, files=files)


def places_of(nodes: Iterable[NodeFacts], networks: Iterable[Network]) -> Iterator[Place]:
    """The zones of nodes, and networks with a price class."""
    for node in nodes:
        if node.zone:
            yield Place(node.provider, node.region, node.zone)
    for network in networks:
        price_class = price_class_of(network)
        if price_class and not network.is_zone_unknown:
            yield Place("", network.region, network.zone, price_class, network.name)
