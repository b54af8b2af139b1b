"""The probe `clsact`: filters at the clsact egress of the uplinks, for kernels without tcx.

Its program is that of `tcx`, and runs before all others there for the same reason.
"""

from kzn.probes.declaration import API, ClsactHook, Feature, Probe

PROBE = Probe(
    api=API,
    name="clsact",
    summary="tc clsact egress of the uplinks; as tcx, for kernels that have no tcx",
    package="kzn",
    resource="objects/clsact.bpf.o",
    hooks=(ClsactHook("clsact_egress", headerless="clsact_headerless"),),
    features=(
        Feature(
            btf_type="__sk_buff",
            meaning="BPF programs in tc",
            hint="it needs Linux 5.12 or later with CONFIG_NET_CLS_BPF and CONFIG_NET_SCH_INGRESS",
        ),
    ),
    # CAP_PERFMON is optional; with it the programs take a third of the time (docs/security.md).
    capabilities=("CAP_NET_ADMIN", "CAP_BPF"),
    auto=30,
)
