"""Delivers batches to a server over TCP or TLS, until each is acknowledged.

In: one batch at a time. Out: nothing, once the server has applied it.
Never: more than one batch in memory; a batch dropped; a token in a message.
Files: credentials (token and TLS files), connection (handshake, one batch, its ack), shipper
(retries, backoff, failover).
"""
