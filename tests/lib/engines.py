"""ClickHouse engines for tests: Debian's old server, and a current engine behind a shim.

In: a folder. Out: the URL of an empty database, with files of its user and password.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CURRENT, OLD = "current engine (chdb)", "server 18.16"
BUNDLE = Path(sys.prefix) / "clickhouse"
"""Where scripts/setup puts Debian's server and its libraries."""
USER, PASSWORD = "kzn", "pass"
_CONFIG = """<?xml version="1.0"?>
<yandex>
  <logger><level>error</level><console>true</console></logger>
  <http_port>{port}</http_port><listen_host>127.0.0.1</listen_host>
  <path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path>
  <users_config>{folder}/users.xml</users_config><default_profile>default</default_profile>
  <default_database>default</default_database><mark_cache_size>1000000</mark_cache_size>
  <timezone>America/New_York</timezone>
</yandex>
"""
_USERS = """<?xml version="1.0"?>
<yandex>
  <profiles><default></default></profiles><quotas><default></default></quotas>
  <users><kzn>
    <password>pass</password><networks><ip>::/0</ip></networks>
    <profile>default</profile><quota>default</quota>
  </kzn></users>
</yandex>
"""


@contextmanager
def engine(kind: str, folder: Path) -> Iterator[str]:
    """A running engine of a kind; the URL without its options."""
    folder.mkdir(parents=True)
    (folder / "user").write_text(USER + "\n")
    (folder / "password").write_text(PASSWORD)
    with current(folder) if kind == CURRENT else old(folder) as port:
        yield (
            f"clickhouse://127.0.0.1:{port}/default?user-file={folder}/user"
            f"&password-file={folder}/password"
        )


@contextmanager
def current(folder: Path) -> Iterator[int]:
    """The current engine; the port."""
    if find_spec("chdb") is None:
        pytest.skip("chdb is not installed: it is in the dependency group dev")
    command = [sys.executable, str(HERE / "chdb_shim.py"), str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def old(folder: Path) -> Iterator[int]:
    """Debian's server; the port."""
    program = BUNDLE / "usr" / "sbin" / "clickhouse-server"
    if not program.exists():
        pytest.skip("clickhouse-server is missing: scripts/setup test fetches it")
    (folder / "data").mkdir()
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    (folder / "config.xml").write_text(_CONFIG.format(folder=folder, port=port))
    (folder / "users.xml").write_text(_USERS)
    libraries = [str(path) for path in BUNDLE.glob("**/*-linux-gnu")]
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [str(program), f"--config-file={folder}/config.xml"],
        env=os.environ | {"LD_LIBRARY_PATH": ":".join(libraries)},
        stdout=log,
        stderr=log,
        cwd=folder,
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with closing(socket.socket()) as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (folder / "log").read_text()
        yield port
    finally:
        process.kill()
        process.wait()
        log.close()
        shutil.rmtree(folder / "data", ignore_errors=True)
