"""The agent's credentials: its token file and its TLS files.

In: paths of files that are renewed while the agent runs.
Out: their current content.
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
"""Limit in bytes; below what a server reads from an unauthenticated agent."""


def token_source(path: Path | None) -> Callable[[], str]:
    """A function that reads the token at each call, as `read_token`; "" without a path."""
    return (lambda: read_token(path)) if path is not None else str


def read_token(path: Path) -> str:
    """The token in the file; KznError when it is missing or not a token."""
    hint = "mount a projected ServiceAccount token with audience kzn-server there"
    try:
        with path.open("rb") as file:
            token = file.read(MAX_TOKEN + 1).strip()
    except OSError as error:
        raise KznError(f"token file {path}: {error.strerror}", hint=hint) from error
    if not token or len(token) > MAX_TOKEN or not token.isascii() or b" " in token:
        raise KznError(f"token file {path} holds no valid token ({len(token)} bytes)", hint=hint)
    return token.decode()


def check(config: AgentConfig) -> None:
    """Check the files at the start: UsageError if unusable; a warning for a token without TLS.

    Reads them without capabilities (CAP_DAC_OVERRIDE), as the running agent will.
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
            "the token in %s is sent to server %s without TLS and can be intercepted; set --tls-ca",
            config.token_file,
            config.server,
        )
