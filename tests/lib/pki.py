"""Certificate authorities and certificates for tests, made with openssl; valid for a day."""

import subprocess
from pathlib import Path

_CONFIG = """
[req]
distinguished_name = subject
prompt = no
[subject]
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE
subjectKeyIdentifier = hash
keyUsage = critical, keyCertSign
[leaf]
basicConstraints = critical, CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
{names}
"""


class Authority:
    """A certificate authority in ``folder``; `ca` is its certificate file."""

    def __init__(self, folder: Path, name: str = "tests") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.ca = folder / "ca.pem"
        self._key = folder / "ca.key"
        _openssl(folder, name, "", "authority", self.ca, self._key)

    def issue(self, stem: str, *names: str) -> tuple[Path, Path]:
        """Certificate and key files for ``names``, such as ``DNS:node-a`` or ``IP:127.0.0.1``."""
        cert, key = self._folder / f"{stem}.pem", self._folder / f"{stem}.key"
        alternatives = f"subjectAltName = {', '.join(names)}" if names else ""
        signed = ("-CA", str(self.ca), "-CAkey", str(self._key))
        _openssl(self._folder, stem, alternatives, "leaf", cert, key, *signed)
        return cert, key


def _openssl(
    folder: Path, name: str, names: str, extensions: str, cert: Path, key: Path, *more: str
) -> None:
    config = folder / "openssl.cnf"
    config.write_text(_CONFIG.format(name=name, names=names))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-noenc", "-days", "1", "-config", str(config), "-extensions", extensions]
    command += ["-out", str(cert), "-keyout", str(key), *more]
    subprocess.run(command, check=True, capture_output=True)
