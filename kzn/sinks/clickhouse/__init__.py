"""The sink and store ``clickhouse``: rows in a ClickHouse server, over its HTTP interface.

In: segments; queries. Out: rows in ``kzn_flows_v1`` and its rollups, each once; answers.
Never: a client library, a table that is created without being told to, or a password in a URL.

Files: schema (tables) · client (HTTP) · sink (segments in) · sql, store (answers out).
"""
