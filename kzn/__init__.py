"""kzn: which Kubernetes workloads cause cross-zone traffic."""

__version__ = "0.1.0"
