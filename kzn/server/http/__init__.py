"""The server's HTTP: /metrics, /healthz, /readyz and /api/v1.

In: GET and HEAD requests. Out: answers, rendered from a snapshot in a thread. Never: a change of
state by a request.

Files: addresses (owners of addresses) · api (the JSON) · server (routes and limits).
"""
