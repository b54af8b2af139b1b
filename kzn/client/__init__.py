"""A client of the HTTP API of a kzn server (docs/api.md).

In: a base URL. Out: values. Never: numpy or rich (`kzn inspect-map` on a node uses this room).
`api` has the answers as dataclasses and is also what the server builds them from; `http` fetches;
`owner_lookup` caches the owners of addresses; `explain` asks why a packet has its verdict.
"""
