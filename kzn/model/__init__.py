"""Values that cross the borders of rooms: flows, batches, totals, endpoints, addresses.

In: numbers and numpy columns. Out: frozen values, dtypes of what lies in the kernel's maps.
Never: I/O, or a decision. Files: ip, flows, totals, batch (agent to server), endpoint (server).
"""
