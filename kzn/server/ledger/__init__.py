"""The ledger: running totals of bytes per series and per node, exact, bounded and saved.

In: resolved batches (resolve), saved rows (state). Out: snapshots for metrics and the API, changes
for the state file. Never: an await, I/O, a total that decreases.

Files: labels (codes of label values) · family (what a family of series is) · postings (a resolution
as keys and bytes) · first_scrape (when a new series shows them) · series (a table) · top_pairs (a
table with the K largest) · limits (of series) · ledger (all tables) · node_totals (where each byte
of a node went).
"""
