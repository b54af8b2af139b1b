"""The writer and the reader of a history as processes of their own, as their server sees them.

In: calls of the server, in threads. Out: the same calls in a child process, and its answers.
Never: DuckDB in the server's process, or an answer that is waited for without a deadline.

Files: framing (messages on pipes) · writer_process, writer_child · reader_process, reader_child,
answers (as bytes) · export_process, export_child (one for each, whose rows go through a pipe).
"""
