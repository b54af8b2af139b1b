"""Wires an attached probe: the loop over its batches, a shipper, HTTP; and shuts them down."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import socket

from kzn import __version__
from kzn.agent import install
from kzn.agent.config import LAST_DRAIN_SECONDS, AgentConfig
from kzn.agent.credentials import token_source
from kzn.agent.hooks import FILTER, LINK, Links, Pinned, follow, indices
from kzn.agent.loop import Loop, empty
from kzn.agent.mapset import MapSet
from kzn.agent.ship import Shipper
from kzn.agent.show import lines
from kzn.agent.spool import Spool
from kzn.agent.stats import AgentCollector, AgentStats
from kzn.agent.uplinks import Device, Watch, lowest
from kzn.daemon.connect import dial_tcp
from kzn.daemon.http import HttpServer
from kzn.daemon.listen import Address, bound_port
from kzn.daemon.registry import health_route, metrics_route, new_registry
from kzn.daemon.signals import shutdown_on_signals
from kzn.errors import KznError
from kzn.model.batch import AgentIdentity, Batch
from kzn.probes.declaration import NetfilterHook, Probe

log = logging.getLogger(__name__)


async def run(
    probe: Probe, config: AgentConfig, maps: MapSet, sockets: list[socket], links: Links
) -> None:
    """Serve an attached probe until SIGTERM or SIGINT, its pages on listening ``sockets``.

    ``links`` are what it is attached by; those on devices follow the uplinks.

    RefusedError when the server never will take this agent, KznError when the hooks are taken
    away under it.
    """
    stats = AgentStats(
        probe=probe.name,
        interval=config.interval,
        capacity=maps.capacity(),
        attached=tuple(hook.name for hook in probe.hooks if isinstance(hook, NetfilterHook)),
    )
    async with _http(sockets, stats), _uplinks(probe, config, maps, stats, links):
        if config.server is None:
            await _print_until_stopped(maps, stats)
        else:
            await _ship_until_stopped(probe, config, config.server, maps, stats)


@asynccontextmanager
async def _http(sockets: list[socket], stats: AgentStats) -> AsyncIterator[None]:
    if not sockets:
        yield
        return
    collectors = new_registry("agent")
    collectors.register(AgentCollector(stats))
    routes = {"/metrics": metrics_route(collectors), "/healthz": health_route(stats.ailment)}
    server = HttpServer(routes)
    await server.start(sockets)
    log.info("metrics on port %d", bound_port(sockets))
    try:
        yield
    finally:
        await server.close()


@asynccontextmanager
async def _uplinks(
    probe: Probe, config: AgentConfig, maps: MapSet, stats: AgentStats, links: Links
) -> AsyncIterator[None]:
    def tell(indices: tuple[int, ...]) -> None:
        maps.set_uplinks(
            indices if config.uplinks is not None else (), skip_inbound=config.skip_inbound
        )
        stats.uplinks = len(indices)

    async def move(found: tuple[Device, ...]) -> None:
        devices = found if config.uplinks else lowest(found)
        try:
            await asyncio.to_thread(follow, probe, links, devices)
        except KznError as error:
            log.error("not on every uplink: %s", error)
        attached = indices(links, LINK, FILTER)
        stats.attached = tuple(d.name for d in devices if d.index in attached)

    tell(())
    if config.uplinks is None and not probe.device_hooks():
        yield
        return
    watch = Watch(tell, config.uplinks or (), move if probe.device_hooks() else None)
    watching = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _print_until_stopped(maps: MapSet, stats: AgentStats) -> None:
    async def deliver(batch: Batch) -> None:
        sys.stdout.writelines(f"{line}\n" for line in lines(batch))
        sys.stdout.flush()

    await _until_stopped(Loop(Spool(maps), deliver, stats, lambda: None))


async def _ship_until_stopped(
    probe: Probe, config: AgentConfig, server: Address, maps: MapSet, stats: AgentStats
) -> None:
    folder = config.pin_dir / probe.name
    spool = Spool(maps)
    async with asyncio.TaskGroup() as group:
        old = [
            group.create_task(_empty_retired(probe, config, server, path))
            for path in install.retired(probe, config.pin_dir)
        ]
        async with _shipper(probe, config, server, spool) as shipper:
            stats.delivery = shipper.stats
            loop = Loop(spool, shipper.deliver, stats, lambda: _check_links(probe, folder))
            await _until_stopped(loop)
        for task in old:
            task.cancel()


@asynccontextmanager
async def _shipper(
    probe: Probe, config: AgentConfig, server: Address, spool: Spool
) -> AsyncIterator[Shipper]:
    identity = AgentIdentity(config.node, spool.epoch, probe.name, __version__)
    shipper = Shipper(
        identity,
        server,
        first=spool,
        token=token_source(config.token_file),
        dial=dial_tcp(server, config.tls),
    )
    try:
        yield shipper
    finally:
        await shipper.close()


async def _empty_retired(probe: Probe, config: AgentConfig, server: Address, folder: Path) -> None:
    maps = install.open_set(folder)
    if maps is None:
        log.error("%s was made by another version of kzn and cannot be read; it is removed", folder)
    else:
        with maps:
            spool = Spool(maps)
            async with _shipper(probe, config, server, spool) as shipper:
                await empty(spool, shipper.deliver)
    install.remove(folder)
    log.info("removed %s", folder)


async def _until_stopped(loop: Loop) -> None:
    """Run until a signal; then one last batch, for which there is a deadline.

    What cannot be delivered by then stays in the kernel, for the next agent on this node.
    """
    with shutdown_on_signals() as shutdown:
        working = asyncio.create_task(loop.run(shutdown.asked))
        asked = asyncio.create_task(shutdown.asked.wait())
        await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
        hurry = asyncio.create_task(shutdown.hurry.wait())
        if not working.done():
            await asyncio.wait(
                {working, hurry},
                timeout=LAST_DRAIN_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
        asked.cancel()
        hurry.cancel()
        if not working.done():
            log.warning("stopped before the last batch was acknowledged; it stays in the kernel")
            working.cancel()
        await asyncio.gather(working, asked, hurry, return_exceptions=True)
    if not working.cancelled():
        working.result()


def _check_links(probe: Probe, folder: Path) -> None:
    """KznError when a pin of this agent's hooks is gone: then nothing is counted any more."""
    for path in Pinned(folder).missing(probe):
        raise KznError(
            f"{path} is gone: {probe.name} no longer counts",
            hint="did somebody run kzn detach? start the agent again to attach anew",
        )
