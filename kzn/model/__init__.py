"""Frozen values that cross the borders of rooms; no I/O, no clock, no kernel."""
