"""Probes: what to attach, where, and what the kernel must offer; plugins of one shape."""
