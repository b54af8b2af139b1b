"""The static topology file, alone or beside Kubernetes.

In: YAML files, also changed ones. Out: facts in the index, or a UsageError with FILE:LINE. Never: a
file with a mistake in the index.
Files: file (its schema), source (files into the index).
"""
