"""What a byte costs at both ends: price lists, and the answer for one kind of traffic.

In: price lists (plugins, YAML files) and `Traffic`. Out: a `Quote`, or `Unpriced` with a reason.
Never: a clock, or the price 0 where none is known.
Files: traffic (questions and answers), declaration (rules and lists), book (which list and rule
answers), registry (installed lists), aws, gcp, azure (the shipped ones), file (a list of YAML),
text (a list as YAML), table (what applies between places), offers (lists of the clouds' own files).
"""
