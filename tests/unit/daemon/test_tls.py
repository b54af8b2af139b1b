"""kzn/daemon/tls.py: contexts from files, and reloading."""

import logging
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from pki import Authority

from kzn.daemon.tls import ClientTls, ServerTls, ServerTlsFiles
from kzn.errors import UsageError


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> ServerTlsFiles:
    cert, key = authority.issue("server", "DNS:kzn")
    place = tmp_path / "tls.crt", tmp_path / "tls.key"
    for file, where in zip((cert, key), place, strict=True):
        shutil.copy(file, where)
    return ServerTlsFiles(*place)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "kzn") -> ssl.SSLObject:
    """A handshake in memory; returns what the client sees."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=name)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(6):
        for end in (near, far):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert near.version(), "the handshake is not over"
    return near


def serial(server: ssl.SSLContext, client: ClientTls) -> str:
    found = handshake(server, client.context()).getpeercert()
    assert found is not None
    return str(found["serialNumber"])


def test_a_client_verifies_ca_and_name(
    files: ServerTlsFiles, authority: Authority, tmp_path: Path
) -> None:
    handshake(files.context(), ClientTls(authority.ca).context())
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(files.context(), ClientTls(authority.ca).context(), "other")
    other_authority = Authority(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(files.context(), ClientTls(other_authority.ca).context())


def test_tls_below_1_2_is_refused(files: ServerTlsFiles, authority: Authority) -> None:
    client = ClientTls(authority.ca).context()
    assert client.minimum_version == ssl.TLSVersion.TLSv1_2
    assert files.context().minimum_version == ssl.TLSVersion.TLSv1_2
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(files.context(), client).version() == "TLSv1.2"


def test_only_changed_files_are_read_again(files: ServerTlsFiles, authority: Authority) -> None:
    tls, client = ServerTls(files), ClientTls(authority.ca)
    first = tls.context()
    before = serial(first, client)
    assert tls.context() is first
    cert, key = authority.issue("renewed", "DNS:kzn")
    os.replace(cert, files.cert)  # noqa: PTH105 - the certificate comes first, without its key
    assert tls.context() is first
    assert (tls.loaded, tls.failed) == (1, 1)
    key.replace(files.key)
    assert serial(tls.context(), client) != before
    assert (tls.loaded, tls.failed) == (2, 1)


@pytest.mark.parametrize("content", ["", "no PEM"])
def test_unusable_files_keep_the_last_context_and_count_once(
    files: ServerTlsFiles, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    tls = ServerTls(files)
    good = tls.context()
    files.cert.write_text(content)
    assert [tls.context(), tls.context()] == [good, good]
    assert (tls.loaded, tls.failed) == (1, 1)
    assert "the previous ones stay in use" in caplog.text
    files.cert.unlink()
    assert tls.context() is good
    assert tls.failed == 2


def test_the_client_ca_is_reloaded_too(
    files: ServerTlsFiles, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ca = Path(shutil.copy(authority.ca, tmp_path / "clients.pem"))
    tls = ServerTls(ServerTlsFiles(files.cert, files.key, ca))
    assert tls.requires_client_certificates
    old = ClientTls(authority.ca, *authority.issue("node-a", "DNS:node-a"))
    handshake(tls.context(), old.context())
    other = Authority(tmp_path / "other")
    with caplog.at_level(logging.INFO):
        shutil.copy(other.ca, ca)
        with pytest.raises(ssl.SSLError):
            handshake(tls.context(), old.context())
    new = ClientTls(authority.ca, *other.issue("node-a", "DNS:node-a"))
    handshake(tls.context(), new.context())
    assert "new connections use" in caplog.text


def test_a_client_without_a_certificate_is_refused(
    files: ServerTlsFiles, authority: Authority
) -> None:
    server = ServerTlsFiles(files.cert, files.key, authority.ca).context()
    with pytest.raises(ssl.SSLError, match=r"(?i)did.not.return.a.certificate"):
        handshake(server, ClientTls(authority.ca).context())


def test_unusable_files_at_the_start_are_named(
    files: ServerTlsFiles, authority: Authority, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(UsageError, match=r"missing with .*tls\.key cannot be used: No such file"):
        ServerTls(ServerTlsFiles(missing, files.key))
    with pytest.raises(UsageError, match="missing cannot be used: No such file"):
        ClientTls(missing).context()
    with pytest.raises(UsageError, match="cannot be used"):
        ClientTls(files.key).context()
    _, other = authority.issue("other", "DNS:kzn")
    with pytest.raises(UsageError, match="KEY_VALUES_MISMATCH"):
        ServerTls(ServerTlsFiles(files.cert, other))


def test_a_key_with_a_passphrase_is_refused_without_a_prompt(
    files: ServerTlsFiles, tmp_path: Path
) -> None:
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", str(files.key), "-aes256", "-passout", "pass:x"]
    subprocess.run([*command, "-out", str(locked)], check=True, capture_output=True)
    with pytest.raises(UsageError, match="cannot be used"):
        ServerTls(ServerTlsFiles(files.cert, locked))
