"""The history: settled flows by minute, hour and day in Parquet files, asked by DuckDB.

In: folded minutes of settled flows; queries. Out: immutable files in one directory that any tool
can read; answers. Never: a file that is changed after it has its name, or bytes without a number.

Files: segments (names, which of them count) · books (what was recorded, dropped, lost) · directory
(the lock and the layout) · columns (the tables and their SQL) ·
writing (their content) · writer (write, merge, roll up) · upkeep (what is to be done) ·
retention (what is removed) · query (a question and its answer) · memory (answers from rows in
memory) · sql, reader (answers from files) · export_query, export (all rows) · processes (writer,
reader and exports as child processes).
"""
