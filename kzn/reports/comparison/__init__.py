"""Two windows of the past beside each other: `kzn diff`. Pure but for the questions that it asks.

In: questions to a history, two windows, maybe a proposal. Out: load and crossing apart, as text or
JSON. Never: two windows that overlap. Files: window, rolled_out, diff, diff_text.
"""
