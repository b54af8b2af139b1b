"""kzn: which Kubernetes workloads cause cross-zone traffic.

Floors from top to bottom; a room imports only from floors below (import-linter checks this).

cli        the commands
agent      on every node: attach a probe, read its counters, ship batches
server     once in a cluster: receive batches, resolve addresses, serve metrics and the API
demo, top  a demonstration on this machine; a live view of a server
lab        network namespaces with real packets, the test kit for probes
client     the HTTP API of the server as values
probes     what can be attached: a declaration and a BPF object (built in objects/)
topology   who has which address at a time, from Kubernetes or a file
libbpf     the kernel's BPF calls      wire    the protocol between agent and server
daemon     sockets, TLS, signals, logs     plugins, child  entry points; child processes
columns    numpy tables and interners
model      frozen values that cross rooms
errors     the error tree
"""

__version__ = "0.1.0"
