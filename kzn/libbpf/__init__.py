"""The only C: libbpf and bpf(2) behind Python values; everything above works with ints and bytes."""
