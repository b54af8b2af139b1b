"""Starts an agent: attaches the probe, drops capabilities, then runs the daemon.

The order saves memory. While libbpf loads a program it holds the kernel's BTF, 10 MB and more;
numpy and the rest of the daemon take as much. Imported first, they would add to that; imported
afterwards, they reuse the memory that libbpf has freed. So nothing that is imported here, directly
or not, imports numpy at its top: `app` is imported below, and `select` imports what reads flows
(maps.buffers, maps.spool) inside functions that run once all programs are loaded.
tests/unit/agent/test_main.py checks it.
"""

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

    UsageError for files that cannot be used, UnsupportedError when this kernel or process cannot
    run a probe, KernelError when the kernel refuses it, and the errors of `kzn.agent.app.serve`.
    """
    credentials.check(config)
    candidates = registry.candidates(config.probe, registry.installed())
    # Listen first: a port that is taken must not leave programs attached.
    with _listening(config) as sockets, attach_probe(config, candidates) as attached:
        privileges.drop_capabilities(attached.probe, attached.maps)  # before there are threads
        from kzn.agent import app  # noqa: PLC0415 - after the programs are loaded: see above

        asyncio.run(app.serve(config, attached, sockets))


@contextmanager
def _listening(config: AgentConfig) -> Iterator[list[socket]]:
    with ExitStack() as stack:
        sockets = listen(config.listen_http) if config.listen_http is not None else []
        yield [stack.enter_context(sock) for sock in sockets]
