"""The probe `postrouting`: netfilter links on POSTROUTING, between filter (0) and source NAT (100).

There the source is still the pod, and the destination already the backend
(include/uapi/linux/netfilter_ipv4.h: NF_IP_PRI_NAT_DST -100, NF_IP_PRI_NAT_SRC 100).
"""

from kzn.libbpf.links import NF_INET_POST_ROUTING
from kzn.probes.declaration import API, Feature, NetfilterHook, Probe

PRIORITIES = (*range(50, 60), *range(60, 100), *range(49, 0, -1))
"""All between filter and source NAT, in the order in which they are tried."""

PROBE = Probe(
    api=API,
    name="postrouting",
    summary="netfilter POSTROUTING; any CNI whose packets pass the host's IP stack",
    package="kzn",
    resource="objects/postrouting.bpf.o",
    hooks=(
        NetfilterHook(
            "ipv4", "postrouting_ipv4", NF_INET_POST_ROUTING, PRIORITIES, counts_all=True
        ),
        NetfilterHook(
            "ipv6", "postrouting_ipv6", NF_INET_POST_ROUTING, PRIORITIES, counts_all=True
        ),
    ),
    features=(
        Feature(
            btf_type="bpf_nf_ctx",
            meaning="BPF programs on netfilter hooks",
            hint="it needs Linux 6.4 or later with CONFIG_NETFILTER_BPF_LINK=y",
        ),
    ),
    auto=10,
)
