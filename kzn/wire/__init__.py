"""The only bytes between agent and server: frames, messages, columns, and whose turn it is."""
