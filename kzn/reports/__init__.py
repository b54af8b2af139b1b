"""Reports on past traffic: what a month cost and whom, and what a change has changed.

In: questions to a history (`Ask`), periods and windows. Out: a `Report` or a `Diff`, as text, CSV,
JSON, Markdown or a page of its own. Never: a sum that differs from the history's.

period → amounts → forecast · gaps → report → text · html · document → post
comparison/ (`kzn diff`)
"""
