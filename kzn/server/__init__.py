"""The server: attributes the batches of agents to workloads and zones, and shows the totals.

In: batches of agents, the topology, options. Out: /metrics, the HTTP API, the flow log.
Never: libbpf or a privilege; a batch counted twice; an event loop blocked by rendering or disk.

A batch goes through: receive (with auth), pipeline, resolve (with topology), ledger and flows,
state; then snapshot, metrics and http show it. app runs all of them with the options of config,
on a loop of fair_loop.
"""
