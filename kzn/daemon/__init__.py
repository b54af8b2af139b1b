"""Asyncio code shared by agent and server, independent of traffic accounting.

In: addresses, files, signals. Out: sockets, TLS contexts, log lines, HTTP answers.
Never: a global logger or registry that is set up on import.
`listen` and `connect` open sockets, `tls` and `tls_stream` encrypt them, `http` and `prometheus`
answer requests, `metrics` declares metrics; `signals`, `logs`, `backoff` and `garbage` serve the
main loops.
"""
