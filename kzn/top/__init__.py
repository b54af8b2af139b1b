"""The live view of `kzn top`, over the HTTP API of one or more servers.

In: an `ApiClient` for each. Out: a screen, a page of text or JSON. Never: anything that other
clients of the API cannot get. `reading` asks for all sums, `history` makes rates of readings,
`screen` and `document` show them, `live` is the loop with keys.
"""
