"""Owners of addresses over time.

In: pods and nodes with their addresses, as they change. Out: the endpoint id that had an address in
an interval. Never: Kubernetes objects, or the meaning of facts (index.py).
Files: claims (an owner's life), intervals (who had an address when), current (fast path for
addresses with a history), ended (deleted pods and nodes).
"""
