"""Starts an agent: first the probe into the kernel, then the daemon around it."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from socket import socket

from kzn.agent import credentials, install, privileges, uplinks
from kzn.agent.config import AgentConfig
from kzn.agent.hooks import Held, Links, Pinned
from kzn.agent.mapset import MapSet
from kzn.agent.uplinks import Device
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
    with _listening(config) as sockets, _attached(probe, config) as (maps, links):
        privileges.shed(probe, maps)  # before there are threads
        # libbpf holds the kernel's BTF, 10 MB and more, while it loads. What the daemon imports
        # afterwards finds that memory free again, so that the two do not add up.
        from kzn.agent import app  # noqa: PLC0415

        asyncio.run(app.run(probe, config, maps, sockets, links))


@contextmanager
def _listening(config: AgentConfig) -> Iterator[list[socket]]:
    with ExitStack() as stack:
        sockets = listen(config.listen_http) if config.listen_http is not None else []
        yield [stack.enter_context(sock) for sock in sockets]


@contextmanager
def _attached(probe: Probe, config: AgentConfig) -> Iterator[tuple[MapSet, Links]]:
    devices = _devices(config) if probe.device_hooks() else ()
    if config.server is None:
        held = Held()
        with install.unpinned(probe, config.settings, devices, held) as maps:
            yield maps, held
        return
    with (
        install.locked(config.pin_dir),
        install.install(probe, config.settings, config.pin_dir, devices) as maps,
    ):
        yield maps, Pinned(config.pin_dir / probe.name)


def _devices(config: AgentConfig) -> tuple[Device, ...]:
    found = asyncio.run(uplinks.ask())
    if config.uplinks:
        return uplinks.chosen(found, config.uplinks)
    return uplinks.lowest(found)
