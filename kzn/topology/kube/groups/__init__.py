"""The keys of ``--group-label`` in objects of the API: codecs of pods and namespaces with groups.

In: keys of labels. Out: facts with one value for each key. Never: which of them counts
(kzn.topology.groups).
"""
