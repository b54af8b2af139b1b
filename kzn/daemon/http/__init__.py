"""A small HTTP server for both daemons: GET and HEAD, no request bodies, everything bounded.

In: requests of Prometheus, kubelet, kzn's own commands, browsers and people. Out: the answers of
the daemon's routes, compressed if asked. Never: aiohttp, whose import takes 9 MB on every node and
whose server limits neither connections, nor the time for a head, nor unsent bytes.

Files: messages (requests and responses as values) · body (a rendered body, kept compressed) ·
slices (a body made on the event loop) ·
hosts (the Host header) · places (who may be connected) · stats (counters) · server (connections).
"""
