"""What an agent proves itself with and checks a server by: a token's file, and TLS files.

In: names of files that others renew.
Out: their content of the moment.
Never: a token in a message.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from kzn.agent.config import AgentConfig
from kzn.errors import KznError, UsageError
from kzn.libbpf import capabilities

log = logging.getLogger(__name__)

MAX_TOKEN = 12 << 10
"""Bytes: below what a server reads of somebody it does not know yet."""


def token_source(path: Path | None) -> Callable[[], str]:
    """Reads the token anew at each call, KznError when it cannot; an empty one without a file."""
    return (lambda: read_token(path)) if path is not None else str


def read_token(path: Path) -> str:
    """The token in ``path``; KznError when there is none."""
    hint = "mount a projected ServiceAccount token with audience kzn-server there"
    try:
        with path.open("rb") as file:
            token = file.read(MAX_TOKEN + 1).strip()
    except OSError as error:
        raise KznError(f"token file {path}: {error.strerror}", hint=hint) from error
    if not token or len(token) > MAX_TOKEN or not token.isascii() or b" " in token:
        raise KznError(f"token file {path} holds no token ({len(token)} bytes)", hint=hint)
    return token.decode()


def check(config: AgentConfig) -> None:
    """UsageError for files that cannot be used at the start; warns of what anybody could read.

    They are read as they will be read later, without the capability to read everything.
    """
    if config.server is None:
        return
    with capabilities.only(0):
        if config.tls is not None:
            config.tls.context()
        if config.token_file is not None:
            try:
                read_token(config.token_file)
            except KznError as error:
                raise UsageError(error.message, hint=error.hint) from error
    if config.token_file is not None and config.tls is None:
        log.warning(
            "the token of %s goes to %s in clear text: whoever can listen can speak for this"
            " node; give --tls-ca",
            config.token_file,
            config.server,
        )
