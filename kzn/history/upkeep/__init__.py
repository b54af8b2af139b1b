"""Upkeep: what there is to merge, roll up and check, found without a look at all files.

In: segments as they are made and removed. Out: tasks, sizes, work in a thread. Never: a cost that
grows with how much a history has.

Files: tasks (of a day) · catalog (all days) · jobs (work in a thread) · node_check (rollups of
nodes against those of pairs).
"""
