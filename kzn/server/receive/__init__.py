"""The connections of agents: accept, authenticate, decode and apply batches, acknowledge.

In: TCP or TLS connections. Out: each batch applied once, then acked; counters.
Never: an ack before the batch is applied and durable; unlimited memory or time for a peer.

Files: receiver (listening sockets), connection (one agent), turns (how many frames at a time, and
batches applied together), context (shared by all connections),
live_agents (one agent for each node), limits and
stats, fair_share (CPU per address), frame_memory (bytes of unfinished frames).
"""
