"""A strict YAML reader with line numbers: every error starts with FILE:LINE.

In: the text of a file. Out: strings, addresses and networks. Never: YAML's implicit types
(``zone: 1`` is the text "1"), tags that construct objects, or unknown keys.
"""

from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import NoReturn

import yaml

from kzn.errors import UsageError
from kzn.model.ip import pack
from kzn.topology.facts import CidrNetwork


class Value:
    """One node of the document, with its line."""

    def __init__(self, file: str, node: yaml.Node) -> None:
        self._file = file
        self._node = node

    def fail(self, found: str, expected: str) -> NoReturn:
        """Raise a UsageError for this value."""
        line = self._node.start_mark.line + 1
        raise UsageError(
            f"{self._file}:{line}: {found}, expected {expected}",
            hint="`python3 -m pydoc kzn.topology.static.file` shows the format",
        )

    def mapping(self, what: str, required: set[str], optional: set[str]) -> "dict[str, Value]":
        """The entries of a mapping; fails without a ``required`` key or with an unknown one."""
        if not isinstance(self._node, yaml.MappingNode):
            self.fail(self._kind(), f"{what} as a mapping")
        known = ", ".join(sorted(required | optional))
        entries: dict[str, Value] = {}
        for key_node, value_node in self._node.value:
            key = Value(self._file, key_node)
            name = key.text("a key")
            if name not in required | optional:
                key.fail(f'unknown key "{name}" in {what}', f"one of {known}")
            if name in entries:
                key.fail(f'key "{name}" twice in {what}', "it once")
            entries[name] = Value(self._file, value_node)
        for name in sorted(required - entries.keys()):
            self.fail(f'{what} without "{name}"', f'the key "{name}"')
        return entries

    def items(self, what: str) -> "Iterator[Value]":
        """The entries of a list."""
        if not isinstance(self._node, yaml.SequenceNode):
            self.fail(self._kind(), f"{what} as a list")
        for node in self._node.value:
            yield Value(self._file, node)

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

    def network(self) -> CidrNetwork:
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


def parse(file: str, text: str) -> Value | None:
    """The root of the only document in ``text``; None when there is none. ``file`` names it."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise UsageError(f"{file}:{line}: {error.problem}, expected YAML") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{file}:1: {error}, expected YAML") from error
    return Value(file, node) if node is not None else None


def each(value: Value | None, what: str, read: Callable[[Value], None]) -> None:
    """Call ``read`` with every entry of a list that may be absent."""
    if value is not None:
        for item in value.items(what):
            read(item)
