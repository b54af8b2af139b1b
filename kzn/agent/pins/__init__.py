"""Pins: what of a probe stays in the kernel without a process, below one directory on a bpffs.

In: a probe, settings, the pin directory, devices. Out: a `MapSet` whose probe is attached.
Never: reads flows or decides which probe counts.
Files: one_agent (of a node), directory (lock, names), liveness (whether a hook counts), attachments
(links, filters), install (sets), notes (of auto).
"""
