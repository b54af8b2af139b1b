"""Kubernetes as a topology source: list and watch of resources, and TokenReviews.

In: kubeconfig or a ServiceAccount. Out: facts in the index, statistics. Never: a decision about
traffic.
Files: source, then credentials and client (requests), api_server/ (whether it answers), resources,
watch (the I/O loop), lines, list_watch (its state machine), decode, api_objects and groups/
(JSON to facts),
controllers, workload_join (pods to workloads) and owner_kinds/ (further kinds), token_review,
errors.
"""
