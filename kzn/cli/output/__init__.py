"""What commands print: inspect-map's table, and a stdout that cannot be written.

In: rows, a terminal's width, a file descriptor. Out: lines; an error that names the reason.
Never: an import that `kzn --help` does not need.
"""
