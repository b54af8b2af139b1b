"""The server: takes batches from agents, resolves them, keeps the ledger, and shows it."""
