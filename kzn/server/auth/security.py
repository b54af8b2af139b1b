"""How agents prove themselves to this server, for metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SecurityState:
    """Mode of authentication, token reviews by result, readings of the TLS files."""

    mode: str = "none"
    reviews: Mapping[str, int] = field(default_factory=dict)
    tls_loaded: int = 0
    tls_failed: int = 0
