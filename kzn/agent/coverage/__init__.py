"""Checks whether the attached probe sees the traffic that leaves the node.

In: the totals of the active buffer, the transmit counters of the uplinks. Out: the coverage ratio,
log lines when it falls and recovers, with `--probe auto` an end of the agent for another trial.
Never: a reading of flows; a probe loaded.
Files: hook_coverage (windows, ratio), watchdog (what follows from it).
"""
