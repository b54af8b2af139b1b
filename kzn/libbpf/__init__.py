"""Everything that calls C: libbpf, libc and bpf(2) as Python functions and values.

In: object files as bytes, descriptors, paths. Out: ints, bytes, numpy columns, frozen values;
KernelError with the errno. Never: cffi values outside this room; knowledge of flows or probes.
Files: decl.h and build (declarations, which make _libbpf), library (loads libbpf and libc), objects
(open and load) with messages (libbpf's log), btf and object_layout (types of an object), maps and
map_batch, links, pins, testrun, capabilities.
"""
