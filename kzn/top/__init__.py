"""The live view of `kzn top`, over the HTTP API of one or more servers.

In: an `ApiClient` for each. Out: a screen, a page of text or JSON. Never: anything that other
clients of the API cannot get. `reading` asks for all sums, `history` makes rates of readings,
`trends` asks the server for its last minutes; `view` is what keys change; `screen`, `detail` (with
`text`) and `document` show all of it; `live` is the loop.
"""
