"""The token file is read at each connection, and no message contains the token."""

from pathlib import Path

import pytest
from pki import Authority

from kzn.agent.config import AgentConfig
from kzn.agent.deliver.credentials import MAX_TOKEN, check, token_source
from kzn.daemon.listen import HostPort
from kzn.daemon.tls import ClientTls
from kzn.errors import KznError, UsageError

SERVER = HostPort("kzn", 7070)


def test_without_a_file_the_token_is_empty() -> None:
    assert token_source(None)() == ""


def test_the_file_is_read_at_each_call(tmp_path: Path) -> None:
    path = tmp_path / "token"
    source = token_source(path)
    for token in ("first", "second"):
        path.write_text(f"{token}\n")
        assert source() == token
    path.unlink()
    with pytest.raises(KznError, match="No such file"):
        source()


@pytest.mark.parametrize("content", ["", "\n", "two words", "x" * (MAX_TOKEN + 1), "gr\u00fcn"])
def test_an_invalid_token_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    with pytest.raises(KznError, match="holds no valid token") as caught:
        token_source(path)()
    assert len(caught.value.message) < 300
    assert "two words" not in caught.value.message


def test_unusable_files_are_usage_errors_at_the_start(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(UsageError, match="missing"):
        check(AgentConfig("node-a", SERVER, token_file=missing))
    with pytest.raises(UsageError, match="missing"):
        check(AgentConfig("node-a", SERVER, tls=ClientTls(missing)))
    check(AgentConfig("node-a", None, tls=ClientTls(missing)))


def test_a_token_without_tls_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "token"
    path.write_text("secret")
    check(AgentConfig("node-a", SERVER, token_file=path))
    assert "without TLS" in caplog.text
    assert "secret" not in caplog.text
    caplog.clear()
    tls = ClientTls(Authority(tmp_path / "pki").ca)
    check(AgentConfig("node-a", SERVER, token_file=path, tls=tls))
    assert caplog.text == ""
