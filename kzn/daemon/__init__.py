"""The asyncio plumbing of both daemons: sockets, signals, logs, waits; nothing of traffic."""
