"""Wires an attached probe: the loop over its batches, a shipper, HTTP; and shuts them down."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from socket import socket

from kzn import __version__
from kzn.agent.config import LAST_DRAIN_SECONDS, AgentConfig
from kzn.agent.coverage.hook_coverage import Meter
from kzn.agent.coverage.metered import MeteredSpool
from kzn.agent.coverage.watchdog import CoverageWatchdog, SwitchPolicy
from kzn.agent.deliver.credentials import token_source
from kzn.agent.deliver.shipper import Shipper
from kzn.agent.devices.link_stats import LinkStats
from kzn.agent.devices.uplink_watch import UplinkWatch
from kzn.agent.devices.uplinks import Device, outermost, tc_attachable
from kzn.agent.inspect.text import lines
from kzn.agent.loop import Loop, empty
from kzn.agent.maps.spool import Spool
from kzn.agent.maps.structs import MAX_UPLINKS
from kzn.agent.metrics import agent_metrics
from kzn.agent.pins import install
from kzn.agent.pins.attachments import FILTER, LINK, PinnedAttachments, follow, indices
from kzn.agent.pins.notes import Notes
from kzn.agent.select.attach import AttachedProbe
from kzn.agent.stats import AgentStats
from kzn.daemon.connect import dial_tcp
from kzn.daemon.http import HttpServer
from kzn.daemon.listen import HostPort, bound_port
from kzn.daemon.prometheus import MetricCollector, health_route, metrics_route, new_registry
from kzn.daemon.signals import shutdown_on_signals
from kzn.errors import KznError
from kzn.model.batch import AgentIdentity, Batch
from kzn.probes.declaration import Probe
from kzn.probes.registry import AUTO

log = logging.getLogger(__name__)


async def serve(config: AgentConfig, attached: AttachedProbe, sockets: list[socket]) -> None:
    """Serve an attached probe until SIGTERM or SIGINT, its pages on listening ``sockets``.

    RefusedError when the server never will take this agent, KznError when the hooks are taken
    away under it, or when they miss traffic and another probe might not.
    """
    probe, maps = attached.probe, attached.maps
    stats = AgentStats(
        probe=probe.name,
        interval=config.interval,
        capacity=maps.capacity(),
        attached=tuple(hook.name for hook in probe.netfilter_hooks()),
        uncounted_bytes=attached.uncounted_bytes,
    )
    with LinkStats() as counters:
        meter = Meter(maps, counters)
        watchdog = CoverageWatchdog(meter, stats, _switch_policy(config, attached))
        spool = MeteredSpool(maps, meter)
        async with (
            _http(sockets, stats),
            _uplinks(config, attached, stats, meter),
            _watchdog(watchdog),
        ):
            if config.server is None:
                await _print_until_stopped(spool, stats)
            else:
                await _ship_until_stopped(probe, config, config.server, spool, stats, watchdog)


def _switch_policy(config: AgentConfig, attached: AttachedProbe) -> SwitchPolicy:
    if config.server is None or config.probe != AUTO:
        return SwitchPolicy()
    return SwitchPolicy(attached.alternatives, Notes(config.pin_dir))


@asynccontextmanager
async def _watchdog(watchdog: CoverageWatchdog) -> AsyncIterator[None]:
    looking = asyncio.create_task(watchdog.run())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


@asynccontextmanager
async def _http(sockets: list[socket], stats: AgentStats) -> AsyncIterator[None]:
    if not sockets:
        yield
        return
    collectors = new_registry("agent")
    collectors.register(MetricCollector(lambda: agent_metrics(stats)))
    routes = {
        "/metrics": metrics_route(collectors),
        "/healthz": health_route(stats.unhealthy_reason),
    }
    server = HttpServer(routes)
    await server.start(sockets)
    log.info("metrics on port %d", bound_port(sockets))
    try:
        yield
    finally:
        await server.close()


@asynccontextmanager
async def _uplinks(
    config: AgentConfig, attached: AttachedProbe, stats: AgentStats, meter: Meter
) -> AsyncIterator[None]:
    probe, links = attached.probe, attached.links
    measured: tuple[Device, ...] = ()

    def tell(indices: tuple[int, ...]) -> None:
        meter.measure(())
        attached.maps.set_uplinks(
            indices if config.uplinks is not None else (), skip_inbound=config.skip_inbound
        )
        stats.uplinks = len(indices)
        if probe.device_hooks() or len(indices) <= MAX_UPLINKS:
            meter.measure(measured if indices else ())

    async def move(found: tuple[Device, ...]) -> None:
        nonlocal measured
        measured = found if config.uplinks else outermost(found)
        if not probe.device_hooks():
            return
        devices = found if config.uplinks else tc_attachable(found)
        try:
            await asyncio.to_thread(follow, probe, links, devices)
        except KznError as error:
            log.error("not on every uplink: %s", error)
        attached_to = indices(links, LINK, FILTER)
        stats.attached = tuple(d.name for d in devices if d.index in attached_to)

    tell(())
    if config.uplinks is None and not probe.device_hooks():
        yield
        return
    watch = UplinkWatch(tell, config.uplinks or (), move)
    watching = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _print_until_stopped(spool: Spool, stats: AgentStats) -> None:
    async def deliver(batch: Batch) -> None:
        sys.stdout.writelines(f"{line}\n" for line in lines(batch))
        sys.stdout.flush()

    await _until_stopped(Loop(spool, deliver, stats, lambda: None), lambda: None)


async def _ship_until_stopped(
    probe: Probe,
    config: AgentConfig,
    server: HostPort,
    spool: Spool,
    stats: AgentStats,
    watchdog: CoverageWatchdog,
) -> None:
    folder = config.pin_dir / probe.name

    def check() -> None:
        _check_links(probe, folder)
        watchdog.check()

    async with asyncio.TaskGroup() as group:
        old = [
            group.create_task(_empty_retired(config, server, path))
            for path in install.retired(None, config.pin_dir)
        ]
        async with _shipper(probe.name, config, server, spool) as shipper:
            stats.delivery = shipper.stats
            await _until_stopped(Loop(spool, shipper.deliver, stats, check), shipper.hurry)
        for task in old:
            task.cancel()


@asynccontextmanager
async def _shipper(
    probe: str, config: AgentConfig, server: HostPort, spool: Spool
) -> AsyncIterator[Shipper]:
    identity = AgentIdentity(config.node, spool.epoch, probe, __version__)
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


async def _empty_retired(config: AgentConfig, server: HostPort, folder: Path) -> None:
    """Under the name of the probe that counted it, which may be another than today's."""
    maps = install.open_set(folder)
    if maps is None:
        log.error("%s was made by another version of kzn and cannot be read; it is removed", folder)
    else:
        with maps:
            spool = Spool(maps)
            probe = folder.name.partition(install.RETIRED)[0]
            async with _shipper(probe, config, server, spool) as shipper:
                await empty(spool, shipper.deliver)
    try:
        with install.file_errors(config.pin_dir):
            install.remove(folder)
    except KznError as error:
        log.error("%s is empty and stays: %s", folder, error)
    else:
        log.info("removed %s", folder)


async def _until_stopped(loop: Loop, on_stop: Callable[[], None]) -> None:
    """Run until a signal, when ``on_stop`` is called; then a last batch, which has a deadline.

    What cannot be delivered by then stays in the kernel, for the next agent on this node.
    """
    with shutdown_on_signals() as shutdown:
        working = asyncio.create_task(loop.run(shutdown.asked))
        asked = asyncio.create_task(shutdown.asked.wait())
        await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
        on_stop()
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
    for path in PinnedAttachments(folder).missing(probe):
        raise KznError(
            f"{path} is gone: {probe.name} no longer counts",
            hint="did somebody run kzn detach? start the agent again to attach anew",
        )
