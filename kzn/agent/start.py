"""Starts an agent: first the probe into the kernel, then the daemon around it."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from socket import socket

from kzn.agent import credentials, install
from kzn.agent.config import AgentConfig
from kzn.agent.mapset import MapSet
from kzn.daemon.listen import listen
from kzn.probes import registry, support
from kzn.probes.declaration import Probe


def run(config: AgentConfig) -> None:
    """Run an agent until SIGTERM or SIGINT.

    UsageError for files that cannot be used, UnsupportedError when this kernel cannot,
    KernelError when it refuses, and the errors of `kzn.agent.app.run`.
    """
    credentials.check(config)
    probe = registry.find(config.probe, registry.installed())
    support.require(probe)
    # The port first: one that is taken is no reason to leave programs attached behind.
    with _listening(config) as sockets, _attached(probe, config) as maps:
        # libbpf holds the kernel's BTF, 10 MB and more, while it loads. What the daemon imports
        # afterwards finds that memory free again, so that the two do not add up.
        from kzn.agent import app  # noqa: PLC0415

        asyncio.run(app.run(probe, config, maps, sockets))


@contextmanager
def _listening(config: AgentConfig) -> Iterator[list[socket]]:
    with ExitStack() as stack:
        sockets = listen(config.listen_http) if config.listen_http is not None else []
        yield [stack.enter_context(sock) for sock in sockets]


@contextmanager
def _attached(probe: Probe, config: AgentConfig) -> Iterator[MapSet]:
    if config.server is None:
        with install.unpinned(probe, config.settings) as maps:
            yield maps
        return
    with (
        install.locked(config.pin_dir),
        install.install(probe, config.settings, config.pin_dir) as maps,
    ):
        yield maps
