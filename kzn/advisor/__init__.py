"""Advice: what would end traffic between zones, what that saves, and what could go wrong. Pure.

In: measured flows, Services with their endpoints, workloads, prices. Out: proposals with their
arithmetic. Never: a change to the cluster, a clock, or a rule that goes by more than the data.
Files: facts (what rules read), prices, world (flows by Service and pair), what_if (load and bytes
after a change), proposal (values), service_change (patches), declaration and registry (rules are
plugins), rules (one file each), evaluate (money, order, overlaps).
"""
