"""Commands about the past: flows, report, diff, advise.

In: options; a server, or the files of a history. Out: what these print. asking.py asks for the
first three.
"""
