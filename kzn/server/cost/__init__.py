"""What the bytes of the ledger cost: money in series of its own, never on the way of a batch.

In: the bytes of series since the last settlement, a price book, the time. Out: families of cost in
the ledger, the cost of each row, the prices in use. Never: a price that is not known as 0, a series
of money that decreases, or a price list read.

Files: route_prices (what a byte costs by class and places) · items (bytes to be priced, netted) ·
meter (settles them) · opencost (counters of pods that OpenCost prices itself).
"""
