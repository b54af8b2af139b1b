"""Recording: settled flows become the minutes of the history, with closed books.

In: flows with a final verdict, from the pipeline. Out: segments (kzn.history), counts of what was
recorded, dropped, lost and is open. Never: an agent that waits for it, a queue without a bound, or
bytes that are in no number.

Files: words (keys as numbers) · batches (what the thread gets of a batch) · owners (by id) · ends
(by address and owner) · fold (minutes by key) · recorder (queue, thread, minutes) · ring (an hour
in memory) · rest (what is too small for the ring) · spooling (segments for sinks) · open (from
options).
"""
