"""Owners of pods beyond ReplicaSets and Jobs.

In: the kinds that ownerReferences name. Out: list-watches of their metadata. Never: a right that is
needed: without it each owner is a workload of its own.
Files: following (which kinds are followed, since when), discovery (a kind's resource).
"""
