"""The commands of kzn. Each parses its options, builds one frozen config and calls one function.

In: arguments and KZN_ variables. Out: tables or JSON on stdout, errors on stderr, an exit code.
Never: an import that `kzn --help` does not need; commands import what they call when they run.
`main` has the table of commands, `params` the types and options that they share, one file for each
command; `output` draws inspect-map's table and reports a stdout that cannot be written.
"""
