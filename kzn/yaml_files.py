"""YAML files that an operator writes, read strictly: every error starts with FILE:LINE.

In: the path or the text of a file. Out: strings, numbers, days, addresses and networks; whether
files changed. Never: YAML's implicit types (``zone: 1`` is the text "1"), tags that construct
objects, or unknown keys.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import NoReturn

import yaml

from kzn.errors import UsageError
from kzn.model.ip import pack

MAX_FILE_BYTES = 64 << 20
MAX_LIST_BYTES = 1 << 20
"""Of price lists and budgets, as much as a ConfigMap holds; some 10,000 rules."""
_UNPRINTABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_MOST = 10.0**12
"""Numbers are less: twelve digits before the point."""

Signature = tuple[tuple[int, ...] | None, ...]


class Value:
    """One node of the document, with its line; ``hint`` says where the format is described."""

    def __init__(self, file: str, node: yaml.Node, hint: str = "") -> None:
        self._file = file
        self._node = node
        self._hint = hint

    @property
    def place(self) -> str:
        """FILE:LINE."""
        return f"{self._file}:{self._node.start_mark.line + 1}"

    def fail(self, found: str, expected: str) -> NoReturn:
        """Raise a UsageError for this value."""
        raise UsageError(f"{self.place}: {found}, expected {expected}", hint=self._hint)

    def mapping(self, what: str, required: set[str], optional: set[str]) -> "dict[str, Value]":
        """The entries of a mapping; fails without a ``required`` key or with an unknown one."""
        if not isinstance(self._node, yaml.MappingNode):
            self.fail(self._kind(), f"{what} as a mapping")
        known = ", ".join(sorted(required | optional))
        entries: dict[str, Value] = {}
        for key_node, value_node in self._node.value:
            key = Value(self._file, key_node, self._hint)
            name = key.text("a key")
            if name not in required | optional:
                key.fail(f'unknown key "{name}" in {what}', f"one of {known}")
            if name in entries:
                key.fail(f'key "{name}" twice in {what}', "it once")
            entries[name] = Value(self._file, value_node, self._hint)
        for name in sorted(required - entries.keys()):
            self.fail(f'{what} without "{name}"', f'the key "{name}"')
        return entries

    def items(self, what: str) -> "Iterator[Value]":
        """The entries of a list."""
        if not isinstance(self._node, yaml.SequenceNode):
            self.fail(self._kind(), f"{what} as a list")
        for node in self._node.value:
            yield Value(self._file, node, self._hint)

    def text(self, what: str) -> str:
        """A non-empty text."""
        value = self._scalar(what)
        if not value:
            self.fail("nothing", what)
        return value

    def address(self) -> bytes:
        """An IP address, as 16 bytes."""
        value = self._scalar("an IP address")
        try:
            return pack(value)
        except ValueError:
            self.fail(f'"{value}"', "an IPv4 or IPv6 address")

    def number(self, what: str) -> float:
        """A decimal number of at least 0, as 0.0105 or 1.05e-2, and less than 10^12.

        Programs that write YAML, Helm's ``toYaml`` among them, write large and small numbers with
        an exponent.
        """
        value = self.text(what)
        if not _NUMBER.fullmatch(value) or not (number := float(value)) < _MOST:
            self.fail(f'"{value}"', what)
        return number

    def day(self, what: str) -> date:
        """A day as YYYY-MM-DD."""
        value = self.text(what)
        try:  # "20260131" and "2026-W05-6" are ISO 8601, too
            return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).date()
        except ValueError:
            self.fail(f'"{value}"', f"{what} as YYYY-MM-DD")

    def choice(self, what: str, *known: str) -> str:
        """One of the words ``known``."""
        value = self.text(what)
        if value not in known:
            self.fail(f'"{value}"', f"{what}: {' or '.join(known)}")
        return value

    def texts(self, what: str) -> tuple[str, ...]:
        """A text, or a list of at least one."""
        if not self.is_list():
            return (self.text(what),)
        found = tuple(item.text(what) for item in self.items(what))
        if not found:
            self.fail("an empty list", what)
        return found

    def network(self) -> IPv4Network | IPv6Network:
        """A network as ADDRESS/LENGTH, or one address."""
        value = self._scalar("a network")
        try:
            return ip_network(value)
        except ValueError as error:
            expected = "a network such as 10.0.0.0/16 or 2001:db8::/32"
            if "host bits" in str(error):
                expected = f"{ip_network(value, strict=False)} (no bits set beyond the prefix)"
            self.fail(f'"{value}"', expected)

    def is_list(self) -> bool:
        """Whether this is a list."""
        return isinstance(self._node, yaml.SequenceNode)

    def _scalar(self, what: str) -> str:
        if not isinstance(self._node, yaml.ScalarNode):
            self.fail(self._kind(), what)
        is_null = self._node.tag.endswith(":null")
        value = "" if is_null else str(self._node.value)
        try:
            # YAML writes a character beyond U+FFFF as two escapes, as JSON does.
            return value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.fail(f"{value!a} with half of a surrogate pair", what)

    def _kind(self) -> str:
        if isinstance(self._node, yaml.MappingNode):
            return "a mapping"
        if isinstance(self._node, yaml.SequenceNode):
            return "a list"
        return f'"{self._node.value}"' if self._node.value else "nothing"


def parse(file: str, text: str, hint: str = "") -> Value | None:
    """The root of the only document in ``text``; None when there is none.

    ``file`` names it in errors, and ``hint`` says there where the format is described.
    """
    if found := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise UsageError(f"{file}:{line}: the character U+{ord(found[0]):04X}, expected text")
    try:
        node = _compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        problem = (error.problem or "a mistake").removeprefix("but ")
        raise UsageError(f"{file}:{line}: {problem}, expected YAML") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{file}:1: {error}, expected YAML") from error
    return Value(file, node, hint) if node is not None else None


def _compose(text: str) -> yaml.Node | None:
    """By libyaml, which is faster by ten times; what that refuses, by yaml, whose errors are known.

    libyaml refuses more: half of a surrogate pair as an escape, and what is nested deeply.
    """
    try:
        return yaml.compose(text, Loader=_FAST_LOADER)
    except (yaml.YAMLError, RecursionError, UnicodeError):
        return yaml.compose(text, Loader=yaml.SafeLoader)


def each(value: Value | None, what: str, read: Callable[[Value], None]) -> None:
    """Call ``read`` with every entry of a list that may be absent."""
    if value is not None:
        for item in value.items(what):
            read(item)


def read_text(path: str | Path, what: str, limit: int = MAX_FILE_BYTES) -> str:
    """The text of a file of at most ``limit`` bytes; UsageError, which calls it ``what``."""
    try:
        size = Path(path).stat().st_size
        content = Path(path).read_bytes() if size <= limit else b""
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{path}: {reason}, expected a readable {what}") from error
    if size > limit:
        raise UsageError(f"{path}: {size} bytes, expected at most {limit} of a {what}")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: bytes that are not UTF-8, expected text") from error


def signature(files: Sequence[Path]) -> Signature:
    """What changes with a file: also where a ConfigMap's update replaces a link to its folder."""
    return tuple(_stat(path) for path in files)


def _stat(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
