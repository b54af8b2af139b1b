"""Tables behind the index, each read for thousands of rows at once.

In: single changes. Out: numpy columns. Never: time.
Files: address_table (address to number), prefix_table (longest prefix to value), endpoint_table
(endpoint id to facts and codes).
"""
