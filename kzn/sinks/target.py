"""The URL of a sink or store: SCHEME://HOST:PORT/PATH?OPTION=VALUE. Pure but for `secret`.

Secrets are in files, never in a URL, which other users of a machine can read. Errors name an option
and never show its value, which may be one all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from kzn.errors import KznError, UsageError

MAX_SECRET = 65_536
NAME_OPTION = "name"
"""An option of every sink: what its metrics and its part of the spool are called."""
ENDPOINT_OPTION = "endpoint"
"""An option that says where the target is, beside host, port and path."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed URL; ``text`` is all of it, and ``path`` is decoded."""

    text: str
    scheme: str
    host: str
    port: int | None
    path: str
    options: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name of the sink."""
        return self.options.get(NAME_OPTION, self.scheme)

    @property
    def shown(self) -> str:
        """The URL without its options, for messages."""
        return _shown(self.text)

    @property
    def place(self) -> str:
        """The URL of where the data go: without the options that only say how."""
        return place_of(self.text)

    def only(self, *known: str) -> None:
        """UsageError if there is an option that is not known."""
        for option in self.options:
            if option not in (*known, NAME_OPTION):
                hint = f"there are {', '.join((*known, NAME_OPTION))}"
                raise UsageError(f"{self.shown}: unknown option {option!r}", hint=hint)

    def flag(self, option: str) -> bool:
        """An option that is ``yes`` or ``no``; no if it is not there."""
        value = self.options.get(option, "no")
        if value not in ("yes", "no"):
            raise UsageError(f"{self.shown}: {option} is not yes or no")
        return value == "yes"

    def file(self, option: str) -> Path | None:
        """An option that is a file which can be read; UsageError otherwise."""
        if option not in self.options:
            return None
        path = Path(self.options[option])
        try:
            with path.open("rb"):
                return path
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a path"
            raise UsageError(f"{self.shown}: the file of {option}: {reason}") from error


def parse_target(text: str) -> Target:
    """The target of a URL; UsageError without a scheme, or with a user or a password."""
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise UsageError(f"{_shown(text)!a} is not a URL") from error
    if not parts.scheme or "://" not in text or parts.fragment:
        raise UsageError(f"{_shown(text)!a} is not a URL", hint="as clickhouse://HOST/DATABASE")
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"{parts.scheme}://…{parts.hostname or ''}: a user or password in a URL can be read by"
            " others",
            hint="name files: user-file=FILE&password-file=FILE, where the sink has them",
        )
    try:
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{parts.scheme}://…: the port is not a number up to 65535") from error
    try:
        pairs = parse_qsl(
            parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict"
        )
    except ValueError as error:
        raise UsageError(f"{_shown(text)!a}: its options are not OPTION=VALUE&…") from error
    options = dict(pairs)
    if len(options) != len(pairs):
        raise UsageError(f"{_shown(text)}: an option is there twice")
    name = options.get(NAME_OPTION, parts.scheme)
    if not (0 < len(name) <= 40 and name.replace("-", "").replace("_", "").isalnum()):
        raise UsageError(
            f"{_shown(text)}: {NAME_OPTION} is not a name", hint="letters, digits, - and _"
        )
    if not (name.isascii() and text.isprintable()):
        raise UsageError(f"{_shown(text)!a}: only printable text can be in a URL")
    for option, value in options.items():
        if "://" in value and "@" in value:
            raise UsageError(
                f"{_shown(text)}: a user or password in {option} can be read by others",
                hint="name files: key-file=FILE&secret-file=FILE, where the sink has them",
            )
    return Target(text, parts.scheme, parts.hostname or "", port, unquote(parts.path), options)


def place_of(text: str) -> str:
    """Scheme, host, port, path and endpoint of a URL, which make it another target; pure."""
    parts = urlsplit(text)
    endpoint = dict(parse_qsl(parts.query)).get(ENDPOINT_OPTION, "").rstrip("/")
    place = f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"
    return f"{place}?{urlencode({ENDPOINT_OPTION: endpoint})}" if endpoint else place


def secret(path: Path | None) -> str:
    """The content of a file without surrounding space, empty without one; KznError."""
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            found = file.read(MAX_SECRET).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KznError(f"{path} cannot be read: {error}") from error
    if not found or "\n" in found or "\r" in found:
        raise KznError(f"{path} is not one line of text")
    return found


def _shown(text: str) -> str:
    """The URL without its options and what may be a password."""
    if "@" not in text:
        return text.partition("?")[0]
    scheme, colon, _ = text.partition("://")
    return f"{scheme}://…" if colon and "@" not in scheme else "…"
