"""The agent: attaches a probe, then ships a batch of what it counted every interval.

In: an `AgentConfig`, the kernel. Out: batches at the server, metrics, `/healthz`.
Never: asks Kubernetes, or drops, delays or changes a packet.

Rooms and files, in the order of the data:

    main          probe first, then the daemon (and why in this order)
    config        what the command line gives
    select        attaches one probe, the named one or the one that `auto` selects
    pins          what of it stays in the kernel without a process
    devices       uplinks, their counters, tc filters
    privileges    drops what only loading and attaching took
    hooks         attaches again what another program detached
    background    starts background tasks again that have failed
    app           wires what follows, and shuts it down
    maps          one set of BPF maps; cuts batches from it
    loop          cut, deliver, clear, every interval
    deliver       ships a batch to the server until it is acknowledged
    coverage      compares what the hook saw with what the uplinks sent
    stats, metrics  what the agent counts about itself, and as metrics
    inspect       reads a set without disturbing it (`kzn inspect-map`)
    doctor        checks the node (`kzn doctor`)
"""
