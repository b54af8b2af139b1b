"""Price lists of the clouds' own offer files, as the clouds document them.

In: the bytes of such files. Out: an `Imported` list. Never: a price of a product that is not
understood: it is counted as ignored.
Files: imported (the result, and reading of files), aws, gcp, azure (a format each).
"""
