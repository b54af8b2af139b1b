"""Counters that survive a restart of the server (``--state``): one SQLite file, group commits.

In: the ledger, node totals and sequence numbers of a pipeline. Out: acks and snapshots, after the
commit of what they contain; the restored state at the next start.
Never: an ack or a scraped counter ahead of the file; SQLite calls on the event loop.

Files: durability (the interface, with or without a file), group_commit (when), checkpoint (what),
sqlite_store, schema and file_check (the file), aside (a file that cannot be read).
"""
