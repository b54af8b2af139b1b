"""The text of /metrics.

In: a snapshot of the server, the header Accept. Out: bytes in the Prometheus or OpenMetrics text
format. Never: a read of live state, or a global registry.

Files: traffic (families of the ledger, totals of nodes) · server (the server about itself) · text
(the format, in columns) · render (all of it).
"""
