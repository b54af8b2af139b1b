"""The protocol between agent and server: frames, messages, columns and the state of a connection.

In: batches of an agent, bytes of a peer. Out: bytes to send, checked batches, or a WireError with a
reason. Never: protobuf messages outside this room, or memory beyond `limits`.
Agent to server: `encode_batch` (with `columns` and `compression`), `messages`, `codec`, `frames`,
`stream`; then `session` and `sequences` decide, and `decode_batch` checks. kzn.proto is the format.
"""
