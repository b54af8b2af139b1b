"""Starts an agent: first the probe into the kernel, then the daemon around it."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from socket import socket

from kzn.agent import privileges
from kzn.agent.config import AgentConfig
from kzn.agent.deliver import credentials
from kzn.agent.select.attach import attach_probe
from kzn.daemon.listen import listen
from kzn.probes import registry


def run(config: AgentConfig) -> None:
    """Run an agent until SIGTERM or SIGINT.

    UsageError for files that cannot be used, UnsupportedError when this kernel cannot,
    KernelError when it refuses, and the errors of `kzn.agent.app.run`.
    """
    credentials.check(config)
    candidates = registry.candidates(config.probe, registry.installed())
    # The port first: one that is taken is no reason to leave programs attached behind.
    with _listening(config) as sockets, attach_probe(config, candidates) as start:
        privileges.drop_capabilities(start.probe, start.maps)  # before there are threads
        # libbpf holds the kernel's BTF, 10 MB and more, while it loads. What the daemon imports
        # afterwards finds that memory free again, so that the two do not add up.
        from kzn.agent import app  # noqa: PLC0415

        asyncio.run(app.serve(config, start, sockets))


@contextmanager
def _listening(config: AgentConfig) -> Iterator[list[socket]]:
    with ExitStack() as stack:
        sockets = listen(config.listen_http) if config.listen_http is not None else []
        yield [stack.enter_context(sock) for sock in sockets]
