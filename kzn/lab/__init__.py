"""The test kit for authors of probes: zones of network namespaces, real packets, exact counts.

In: a `LabSpec` and amounts to send. Out: what sockets sent and what wires carried, to the byte.
Never: a change to the machine's own devices, addresses, mounts or files. Needs root and nftables.
Promised to other packages: `lab` (Lab), `plan`, `namespaces.inside`, `traffic`, `witness`; see
docs/writing-a-probe.md. Not promised: `topology`, `daemons` and `jobs`, which serve the demo.
`plan` names everything, `namespaces` and `lab` make it, `traffic` and `jobs` send, `witness` counts
on the wire, `daemons` and `topology` run kzn inside.
"""
