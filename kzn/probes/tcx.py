"""The probe `tcx`: links at the tcx egress of the uplinks, where eBPF host routing passes too.

Its program runs before all others there: a CNI's program ends the chain for accepted packets
(TCX_PASS), rewrites the source to the node's, or redirects. Before it the source is the pod.
"""

from kzn.probes.declaration import API, Feature, Probe, TcxHook

PROBE = Probe(
    api=API,
    name="tcx",
    summary="tcx egress of the uplinks; eBPF host routing (Cilium) passes here too",
    package="kzn",
    resource="objects/tcx.bpf.o",
    hooks=(TcxHook("tcx_egress", headerless="tcx_headerless"),),
    features=(
        Feature(
            btf_type="tcx_link",
            meaning="BPF links on the egress of devices (tcx)",
            hint="it needs Linux 6.6 or later with CONFIG_NET_XGRESS=y",
        ),
    ),
    # CAP_PERFMON is optional; with it the programs take a third of the time (docs/security.md).
    capabilities=("CAP_NET_ADMIN", "CAP_BPF"),
    auto=20,
)
