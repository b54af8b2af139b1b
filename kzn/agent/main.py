"""Starts an agent: attaches the probe, drops capabilities, then runs the daemon.

A signal while it starts ends it between two steps: probes on trial are detached, and pinned sets
stay as they were.

The order saves memory. While libbpf loads a program it holds the kernel's BTF, 10 MB and more;
numpy and the rest of the daemon take as much. Imported first, they would add to that; imported
afterwards, they reuse the memory that libbpf has freed. So nothing that is imported here, directly
or not, imports numpy at its top: `app` is imported below, and `select` imports what reads flows
(maps.buffers, maps.spool) inside functions that run once all programs are loaded.
tests/unit/agent/test_main.py checks it.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from socket import socket

from kzn.agent import privileges
from kzn.agent.config import AgentConfig
from kzn.agent.deliver import credentials
from kzn.agent.select.attach import attach_probe
from kzn.daemon import descriptors
from kzn.daemon.listen import listen
from kzn.daemon.stop_flag import StopFlag, StopRequested
from kzn.errors import ProbeSwitchError
from kzn.probes import registry

log = logging.getLogger(__name__)


def run(config: AgentConfig, stop: StopFlag) -> None:
    """Run an agent until SIGTERM or SIGINT, which the caller's ``stop`` catches from now on.

    UsageError for files that cannot be used, UnsupportedError when this kernel or process cannot
    run a probe, KernelError when the kernel refuses it, and the errors of `kzn.agent.app.serve`.
    """
    try:
        _run(config, stop)
    except StopRequested:
        log.info("stopped by a signal before the first batch; what was pinned before still counts")
    except (ProbeSwitchError, BaseExceptionGroup) as error:
        if not (config.keeps_capabilities and _is_switch(error)):
            raise
        log.warning("%s", _text(error))
        privileges.start_again(stop)


def _is_switch(error: BaseException) -> bool:
    """Whether it is `ProbeSwitchError` alone."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_switch, error.exceptions))
    return isinstance(error, ProbeSwitchError)


def _text(error: BaseException) -> str:
    return _text(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else str(error)


def _run(config: AgentConfig, stop: StopFlag) -> None:
    descriptors.raise_limit()
    credentials.check(config)
    candidates = registry.candidates(config.probe, registry.installed())
    stop.check()
    # Listen first: a port that is taken must not leave programs attached.
    with _listening(config) as sockets, attach_probe(config, candidates, stop) as attached:
        stop.check()
        privileges.drop_capabilities(  # before there are threads
            attached.probe, attached.maps, for_switch=config.keeps_capabilities
        )
        from kzn.agent import app  # noqa: PLC0415 - after the programs are loaded: see above

        stop.check()
        asyncio.run(app.serve(config, attached, sockets, stop))


@contextmanager
def _listening(config: AgentConfig) -> Iterator[list[socket]]:
    with ExitStack() as stack:
        sockets = listen(config.listen_http) if config.listen_http is not None else []
        yield [stack.enter_context(sock) for sock in sockets]
