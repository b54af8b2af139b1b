"""Runs the agent's daemon around an attached probe, and shuts it down.

In: the configuration, the attached probe, listening sockets.
Out: batches delivered to the server (or printed), /metrics and /healthz.
Never: a probe loaded; the process has dropped the capabilities for that.
"""

import asyncio
import logging
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from socket import gethostname, socket
from typing import TypeVar

from kzn import __version__
from kzn.agent.background import in_background, keep_running
from kzn.agent.config import LAST_DRAIN_SECONDS, AgentConfig
from kzn.agent.coverage.hook_coverage import Meter
from kzn.agent.coverage.watchdog import CoverageWatchdog, SwitchPolicy
from kzn.agent.deliver.credentials import token_source
from kzn.agent.deliver.shipper import Shipper
from kzn.agent.device_updates import DeviceUpdates
from kzn.agent.devices.device_watch import DeviceWatch
from kzn.agent.devices.link_stats import LinkStats
from kzn.agent.hooks import Hooks
from kzn.agent.inspect.text import lines
from kzn.agent.loop import Loop, empty
from kzn.agent.maps import buffers
from kzn.agent.maps.spool import Spool
from kzn.agent.metrics import agent_metrics
from kzn.agent.pins import directory, install
from kzn.agent.pins.attachments import PinnedAttachments
from kzn.agent.pins.notes import Notes
from kzn.agent.select.attach import AttachedProbe
from kzn.agent.stats import AgentStats
from kzn.daemon.connect import dial_tcp
from kzn.daemon.http.hosts import AllowedHosts
from kzn.daemon.http.messages import Route
from kzn.daemon.http.places import HttpLimits
from kzn.daemon.http.server import HttpServer
from kzn.daemon.listen import HostPort, bound_port
from kzn.daemon.prometheus import MetricCollector, health_route, metrics_route, new_registry
from kzn.daemon.signals import shutdown_on_signals
from kzn.daemon.stop_flag import StopFlag
from kzn.errors import KernelError, KznError, RefusedError
from kzn.model.batch import AgentIdentity, Batch
from kzn.probes.declaration import Probe
from kzn.probes.registry import AUTO

log = logging.getLogger(__name__)

HTTP_LIMITS = HttpLimits(connections=32, keep_alive=0.0, unsent_bytes=4 << 20)

T = TypeVar("T")
DEVICES_SECONDS = 2.0
"""How long the first batch waits for this node's devices, usually some milliseconds."""


async def serve(
    config: AgentConfig, attached: AttachedProbe, sockets: list[socket], stop: StopFlag
) -> None:
    """Run until SIGTERM or SIGINT, with HTTP on the listening ``sockets``.

    ``stop`` catches signals until the loop does.

    RefusedError when the server refuses this agent for good. KznError when another process removed
    the pins, or when they miss traffic and another probe might not.
    """
    probe, maps = attached.probe, attached.maps
    config = replace(config, process=secrets.randbits(64) or 1)
    stats = AgentStats(
        probe=probe.name,
        interval=config.interval,
        capacity=maps.capacity(),
        row_capacity=maps.row_capacity(),
        attached=tuple(hook.name for hook in probe.netfilter_hooks()),
        uncounted_bytes=attached.uncounted_bytes,
        lost_sets=attached.lost.sets,
        lost_bytes=attached.lost.bytes,
    )
    with LinkStats() as counters:
        meter = Meter(maps, counters)
        watchdog = CoverageWatchdog(meter, stats, _switch_policy(config, attached))
        hooks = Hooks(attached, stats)
        updates = DeviceUpdates(config, attached, stats, meter, hooks)
        # A cut switches the active buffer, which the meter must not see in the middle.
        reader = buffers.Reader(lambda: updates.senders)
        stats.entries = reader.entries
        spool = Spool(maps, around_cut=meter.paused, access=reader)
        async with (
            _http(config, sockets, stats),
            in_background("devices", DeviceWatch(config.uplinks or (), updates.apply).run, stats),
            in_background("hooks", hooks.run, stats),
            in_background("coverage", watchdog.run, stats),
        ):
            # A batch under way is read at once, and its senders are those of these devices.
            with suppress(TimeoutError):
                await asyncio.wait_for(updates.known.wait(), DEVICES_SECONDS)
            if config.server is None:
                await _print_until_stopped(spool, stats, stop)
            else:
                await _ship_until_stopped(
                    probe,
                    config,
                    config.server,
                    spool,
                    stats,
                    watchdog,
                    stop,
                    lambda: updates.addresses,
                    reader,
                )


def _switch_policy(config: AgentConfig, attached: AttachedProbe) -> SwitchPolicy:
    if config.server is None or config.probe != AUTO:
        return SwitchPolicy()
    return SwitchPolicy(
        attached.alternatives,
        Notes(config.pin_dir),
        attached.saw_traffic,
        in_place=config.keeps_capabilities,
    )


@asynccontextmanager
async def _http(
    config: AgentConfig, sockets: list[socket], stats: AgentStats
) -> AsyncIterator[None]:
    if not sockets:
        yield
        return
    registry = new_registry("agent")
    registry.register(MetricCollector(lambda: agent_metrics(stats)))
    routes = {
        "/metrics": Route(metrics_route(registry)),
        "/healthz": Route(health_route(stats.unhealthy_reason), is_open=True),
    }
    # A scrape may name the node as Kubernetes does, or as the machine calls itself.
    hosts = AllowedHosts((*config.http_hosts, config.node, gethostname()))
    server = HttpServer(routes, HTTP_LIMITS, hosts=hosts)
    stats.http = server.stats
    await server.start(sockets)
    log.info("serving /metrics and /healthz on port %d", bound_port(sockets))
    try:
        yield
    finally:
        await server.close()


async def _print_until_stopped(spool: Spool, stats: AgentStats, stop: StopFlag) -> None:
    async def deliver(batch: Batch) -> None:
        sys.stdout.writelines(f"{line}\n" for line in lines(batch))
        sys.stdout.flush()

    await _until_stopped(Loop(spool, deliver, stats, lambda: None), stop, lambda: None)


async def _ship_until_stopped(
    probe: Probe,
    config: AgentConfig,
    server: HostPort,
    spool: Spool,
    stats: AgentStats,
    watchdog: CoverageWatchdog,
    stop: StopFlag,
    addresses: Callable[[], tuple[bytes, ...] | None],
    reader: buffers.Reader,
) -> None:
    folder = config.pin_dir / probe.name

    def check() -> None:
        _check_pins(probe, folder)
        watchdog.check()

    async with asyncio.TaskGroup() as group:
        draining = [
            group.create_task(
                _keep_draining(config, server, path, stats, buffers.Reader(reader.senders))
            )
            for path in directory.retired(None, config.pin_dir)
        ]
        async with _shipper(probe.name, config, server, spool, addresses) as shipper:
            stats.delivery = shipper.stats
            loop = Loop(spool, shipper.deliver, stats, check)
            await _until_stopped(loop, stop, shipper.hurry)
        for task in draining:
            task.cancel()


@asynccontextmanager
async def _shipper(
    probe: str,
    config: AgentConfig,
    server: HostPort,
    spool: Spool,
    addresses: Callable[[], tuple[bytes, ...] | None] = lambda: None,
) -> AsyncIterator[Shipper]:
    interval_ms = round(config.interval * 1000)
    identity = AgentIdentity(
        config.node, spool.epoch, probe, __version__, config.process, interval_ms
    )
    shipper = Shipper(
        identity,
        server,
        first=spool,
        token=token_source(config.token_file),
        addresses=addresses,
        dial=dial_tcp(server, config.tls),
    )
    try:
        yield shipper
    finally:
        await shipper.close()


async def _keep_draining(
    config: AgentConfig, server: HostPort, folder: Path, stats: AgentStats, reader: buffers.Reader
) -> None:
    """Drain a retired set, again after a failure; RefusedError as the agent's own delivery."""
    await keep_running(
        f"draining {folder.name}",
        lambda: _drain_retired(config, server, folder, stats, reader),
        stats,
        ends_agent=(RefusedError,),
    )


async def _drain_retired(
    config: AgentConfig, server: HostPort, folder: Path, stats: AgentStats, reader: buffers.Reader
) -> None:
    """Deliver what a replaced probe counted, under that probe's name, and remove its pins."""

    async def retried(work: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await work()
            except KernelError as error:
                stats.retired_failures += 1
                log.error(
                    "cannot read what %s counted: %s; retrying in %g s",
                    folder,
                    error,
                    config.interval,
                )
            await asyncio.sleep(config.interval)

    maps = await retried(lambda: asyncio.to_thread(install.open_set, folder))
    if maps is None:
        held = await asyncio.to_thread(install.held_bytes, folder)
        stats.lost_sets += 1
        stats.lost_bytes += held
        log.error(
            "pins %s are damaged or of an incompatible kzn version: what they counted since the"
            " last delivered batch is lost, %s",
            folder,
            f"{held} bytes at most" if held else "of unknown size",
        )
    else:
        with maps:
            spool, probe = Spool(maps, access=reader), directory.probe_of(folder)
            async with _shipper(probe, config, server, spool) as shipper:
                await retried(lambda: empty(spool, shipper.deliver))
    try:
        with directory.file_errors(config.pin_dir):
            install.remove(folder)
    except KznError as error:
        log.error("cannot remove pins %s: %s", folder, error)
    else:
        log.info("removed pins %s", folder)


async def _until_stopped(loop: Loop, stop: StopFlag, on_stop: Callable[[], None]) -> None:
    """Run until a signal; then call ``on_stop`` and deliver a last batch before a deadline.

    What is not acknowledged by then stays in the kernel for the next agent on this node.
    """
    with shutdown_on_signals(stop) as shutdown:
        running = asyncio.create_task(loop.run(shutdown.asked))
        asked = asyncio.create_task(shutdown.asked.wait())
        await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
        on_stop()
        hurry = asyncio.create_task(shutdown.hurry.wait())
        if not running.done():
            await asyncio.wait(
                {running, hurry},
                timeout=LAST_DRAIN_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
        asked.cancel()
        hurry.cancel()
        if not running.done():
            log.warning(
                "stopped before the server acknowledged the last batch; it stays in the kernel"
                " for the next agent on this node"
            )
            running.cancel()
        await asyncio.gather(running, asked, hurry, return_exceptions=True)
    if not running.cancelled():
        running.result()


def _check_pins(probe: Probe, folder: Path) -> None:
    """KznError when a pin of this agent's hooks is gone, since then nothing is counted."""
    for path in PinnedAttachments(folder).missing(probe):
        raise KznError(
            f"{path} is gone: {probe.name} no longer counts",
            hint="kzn detach or another process removed it; start the agent again to attach anew",
        )
