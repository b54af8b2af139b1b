"""What a byte costs at both ends: price lists, and the answer for one kind of traffic.

In: price lists (plugins, YAML files) and `Traffic`. Out: a `Quote`, or `Unpriced` with a reason.
Never: a clock, or the price 0 where none is known.
Files: traffic (questions and answers), declaration (rules and lists), rule_index (which rule is the
first), book (which list answers), checked (mistakes of plugins), registry (installed lists), aws,
gcp, azure (the shipped ones), file (a list of YAML), text (a list as YAML), table (what applies
between places), places (where the ends of past traffic are), offers (lists of the clouds' own
files).
"""
