"""The only C: libbpf and bpf(2) behind Python values; above it are only ints and bytes."""
