"""Numpy building blocks for columns of flows and series; they know nothing of traffic.

In: arrays and names. Out: arrays and integer codes. Never: I/O, or a loop over rows.
Files: arrays (dtype names), key_layout (label codes in one int64), hash_table (keys to rows),
interner (names to codes), group_sums (exact sums by group), sort_order (a faster lexsort),
distinct_rows (one row of each kind), distinct_pairs (of two words each).
"""
