"""Reads the node's live counters for people, without disturbing the agent.

In: a pin directory, or a batch. Out: snapshots, rows, filters, JSON documents, text lines.
Never: a write to a map; rich or click (kzn/cli draws the tables).
Files: snapshot (reads the pins), per_cpu (entries by CPU), rows (flows and rates), filter (which
rows), document (JSON of `kzn inspect-map`), text (words for flags and protocols, `--print`).
"""
