"""Writing: rows of numbers become the columns of Parquet files, without a database.

In: ends as they get their numbers, rows of SETTLED. Out: files of minutes, of whole hours and their
rollups. Never: a name that is looked up for each row, or more than the held rows in memory.

Files: end_names (ends by number) · end_order (of rows in files) · held_hours (rows until their hour
is merged) · rollups (sums by pairs of workloads, and by node) · parquet (columns as bytes).
"""
