"""Sinks: finished segments of the history go elsewhere, to a folder, an engine or a bucket.

In: Parquet files under their final names, from the spool of one server. Out: the same rows at the
sink's target, each once. Never: a server or an agent that waits for a target.

A sink is a plugin (entry points ``kzn.sinks``) as a probe is: docs/writing-a-sink.md.

Files: declaration (what a sink is) · target (its URL) · registry · spool (what waits, on disk) ·
deliver (one task for each sink) · directory · clickhouse · s3.
"""
