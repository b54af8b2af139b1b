"""Which endpoints a flow is between, and its verdict: a traffic class, transit, or unresolved.

In: the flows of one interval of one node, and the index of address owners. Out: a `Resolution`;
the part of a batch that is to be retried. Never: I/O, a clock, changes to the index.

In the order of the data: reporting (nodes without an agent), joined (batches as one table), resolve
(both ends of each flow), rules (the decision table), verdict (the codes), resolution (what was
found), assumed (what of tunnels cannot be checked), explain (the
decision on one packet, in words), retry (flows tried again later).
"""
