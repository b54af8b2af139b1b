"""The flow log: one line for each flow with a final verdict, as text or JSON.

In: observed flows with their resolution, from the pipeline. Out: lines on a stream.
Never: blocks the event loop, queues without a bound, drops lines without counting them.

In the order of the data: queue (bound, thread), records (columns of flows), lines (formatting).
"""
