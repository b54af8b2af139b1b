"""The commands: each parses, builds one frozen config and calls one function."""
