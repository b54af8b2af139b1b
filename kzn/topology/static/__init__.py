"""The static topology file, alone or beside Kubernetes.

In: a YAML file. Out: facts in the index, or a UsageError with FILE:LINE. Never: a second read.
Files: yaml_reader (YAML with line numbers), file (its schema, and the source).
"""
