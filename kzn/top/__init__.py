"""A live view of a server's numbers, read over its HTTP API like anybody's."""
