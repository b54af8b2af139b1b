"""Agents and a receiver over TLS, with real certificates."""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pki import Authority

from kzn.agent.deliver.shipper import Shipper, ShipTimeouts
from kzn.daemon.connect import dial_tcp
from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.daemon.tls import ClientTls, ServerTls, ServerTlsFiles
from kzn.errors import RefusedError
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.flows import Flows
from kzn.model.totals import Counts, Totals
from kzn.server.auth.authenticator import Authenticator
from kzn.server.receive.limits import ReceiveLimits
from kzn.server.receive.receiver import Receiver
from kzn.wire.messages import Reason

FEW = ReceiveLimits(linger=0.05)


@dataclass
class First:
    """Stores the server that a batch was first sent to, as the spool does."""

    server: int = 0

    def sending_to(self, server: int) -> None:
        self.server = server


@dataclass
class Scene:
    """A receiver with TLS on loopback."""

    receiver: Receiver
    tls: ServerTls | None
    port: int
    applied: list[tuple[str, int]]

    @asynccontextmanager
    async def shipper(self, tls: ClientTls | None, node: str = "node-a") -> AsyncIterator[Shipper]:
        address = HostPort("127.0.0.1", self.port)

        async def no_wait(_seconds: float) -> None:
            await asyncio.sleep(0)

        shipper = Shipper(
            AgentIdentity(node, 7, "postrouting", "0.1.0"),
            address,
            first=First(),
            dial=dial_tcp(address, tls),
            timeouts=ShipTimeouts(connect=5.0, welcome=5.0, ack=5.0),
            sleep=no_wait,
        )
        try:
            yield shipper
        finally:
            await shipper.close()

    async def failure(self, tls: ClientTls | None) -> str:
        """The reason why an agent with ``tls`` cannot deliver."""
        async with self.shipper(tls) as shipper:
            delivery = asyncio.create_task(shipper.deliver(batch(1)))
            while not shipper.stats.failures:  # noqa: ASYNC110 - the shipper has no event
                await asyncio.sleep(0)
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)
            return next(iter(shipper.stats.failures))


def batch(sequence: int) -> Batch:
    return Batch(sequence, 10_000, 0, Flows.empty(), Totals(seen=Counts(sequence, 100)))


def play(
    act: Callable[[Scene], Awaitable[None]], tls: ServerTls | None, limits: ReceiveLimits = FEW
) -> None:
    async def run() -> None:
        sockets = listen(HostPort("127.0.0.1", 0))
        applied: list[tuple[str, int]] = []
        mode = "mtls" if tls and tls.requires_client_certificates else "none"
        authenticator = Authenticator(mode, str, tls=tls)  # type: ignore[arg-type]  # a literal
        receiver = Receiver(
            lambda who, got: applied.append((who.node, got.sequence)),
            limits=limits,
            authenticate=authenticator.authenticate,
            tls=tls,
        )
        await receiver.start(sockets)
        async with asyncio.timeout(20):
            try:
                await act(Scene(receiver, tls, bound_port(sockets), applied))
            finally:
                await receiver.close(5.0)

    asyncio.run(run())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> ServerTlsFiles:
    cert, key = authority.issue("server", "IP:127.0.0.1", "DNS:kzn")
    copies = tmp_path / "tls.crt", tmp_path / "tls.key"
    for file, copy in zip((cert, key), copies, strict=True):
        shutil.copy(file, copy)
    return ServerTlsFiles(*copies)


def test_batches_arrive_over_tls_and_their_bytes_are_counted(
    files: ServerTlsFiles, authority: Authority
) -> None:
    async def act(scene: Scene) -> None:
        async with scene.shipper(ClientTls(authority.ca)) as shipper:
            for sequence in (1, 2, 3):
                await shipper.deliver(batch(sequence))
            assert shipper.stats.connects == 1
            assert scene.applied == [("node-a", 1), ("node-a", 2), ("node-a", 3)]
            stats = scene.receiver.stats
            assert stats.received_bytes == shipper.stats.sent_bytes
            assert stats.refusals == {}

    play(act, ServerTls(files))


def test_a_server_name_replaces_the_dialed_host(
    files: ServerTlsFiles, authority: Authority
) -> None:
    async def act(scene: Scene) -> None:
        async with scene.shipper(ClientTls(authority.ca, server_name="kzn")) as shipper:
            await shipper.deliver(batch(1))
        assert await scene.failure(ClientTls(authority.ca, server_name="other")) == "certificate"

    play(act, ServerTls(files))


def test_an_agent_sends_nothing_to_a_server_of_another_authority(
    files: ServerTlsFiles, tmp_path: Path
) -> None:
    async def act(scene: Scene) -> None:
        other = ClientTls(Authority(tmp_path / "other").ca)
        assert await scene.failure(other) == "certificate"
        while not scene.receiver.stats.refusals:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert set(scene.receiver.stats.refusals) == {"tls"}
        assert scene.receiver.stats.frames == 0

    play(act, ServerTls(files))


def test_tls_on_one_side_only_fails_with_a_reason(
    files: ServerTlsFiles, authority: Authority
) -> None:
    async def agent_without_tls(scene: Scene) -> None:
        assert await scene.failure(None) in {"connection", "closed", "speaks_tls"}
        assert scene.receiver.stats.refusals["tls"] > 0
        assert scene.applied == []

    async def server_without_tls(scene: Scene) -> None:
        assert await scene.failure(ClientTls(authority.ca)) in {"tls", "connection"}
        assert set(scene.receiver.stats.refusals) == {"speaks_tls"}

    play(agent_without_tls, ServerTls(files))
    play(server_without_tls, None)


def test_an_unfinished_handshake_times_out_and_does_not_delay_agents(
    files: ServerTlsFiles, authority: Authority
) -> None:
    hello = bytes.fromhex("16030100c8010000c40303")  # the first bytes of a ClientHello of 200 bytes

    async def act(scene: Scene) -> None:
        bad = [await asyncio.open_connection("127.0.0.1", scene.port) for _ in range(20)]
        for _, writer in bad[::2]:
            writer.write(hello)
        async with scene.shipper(ClientTls(authority.ca)) as shipper:
            await shipper.deliver(batch(1))
        for reader, writer in bad:
            assert await reader.read() == b""
            writer.close()
        assert scene.receiver.stats.refusals == {"timeout": 20}

    play(act, ServerTls(files), ReceiveLimits(handshake=0.3, linger=0.05))


def test_a_renewed_certificate_is_used_for_new_connections_and_open_ones_stay(
    files: ServerTlsFiles, authority: Authority
) -> None:
    async def serial(scene: Scene) -> object:
        context = ClientTls(authority.ca).context()
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port, ssl=context)
        found = writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
        writer.transport.abort()
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        return found

    async def act(scene: Scene) -> None:
        async with scene.shipper(ClientTls(authority.ca)) as shipper:
            await shipper.deliver(batch(1))
            before = await serial(scene)
            for renewed, old in zip(
                authority.issue("renewed", "IP:127.0.0.1"), (files.cert, files.key), strict=True
            ):
                renewed.replace(old)
            assert await serial(scene) != before
            await shipper.deliver(batch(2))
            assert shipper.stats.connects == 1
        files.key.write_text("no PEM")
        async with scene.shipper(ClientTls(authority.ca)) as shipper:
            await shipper.deliver(batch(3))
        assert scene.tls is not None
        assert (scene.tls.loaded, scene.tls.failed) == (2, 1)

    play(act, ServerTls(files))


def test_a_client_certificate_is_valid_for_the_nodes_it_names_only(
    files: ServerTlsFiles, authority: Authority
) -> None:
    ours = ClientTls(authority.ca, *authority.issue("agent", "DNS:node-a", "DNS:node-b"))

    async def act(scene: Scene) -> None:
        for node in ("node-a", "node-b"):
            async with scene.shipper(ours, node) as shipper:
                await shipper.deliver(batch(1))
        async with scene.shipper(ours, "node-c") as shipper:
            with pytest.raises(RefusedError, match="no DNS name node-c") as caught:
                await shipper.deliver(batch(1))
        assert caught.value.reason == Reason.NODE
        assert scene.receiver.stats.refusals == {"node": 1}

    play(act, ServerTls(ServerTlsFiles(files.cert, files.key, authority.ca)))


def test_without_a_valid_client_certificate_no_batch_is_accepted(
    files: ServerTlsFiles, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other").issue("agent", "DNS:node-a")

    async def act(scene: Scene) -> None:
        for tls in (ClientTls(authority.ca), ClientTls(authority.ca, *other)):
            assert await scene.failure(tls) in {"tls", "connection", "closed"}
        assert set(scene.receiver.stats.refusals) == {"tls"}
        assert scene.applied == []

    play(act, ServerTls(ServerTlsFiles(files.cert, files.key, authority.ca)))
