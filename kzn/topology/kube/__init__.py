"""Following the Kubernetes API: client, list and watch, and what feeds the index."""
