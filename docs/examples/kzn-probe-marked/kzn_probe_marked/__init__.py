"""The probe `marked`: netfilter links on POSTROUTING that count only packets marked by a rule."""

from kzn.probes.declaration import Feature, NetfilterHook, Probe

POST_ROUTING = 4
"""NF_INET_POST_ROUTING, include/uapi/linux/netfilter.h."""
PRIORITIES = tuple(range(60, 70))
"""After rules that mark (0), before source NAT (100), and beside kzn's own probe (50 to 59)."""

PROBE = Probe(
    name="marked",
    api=4,
    summary="netfilter POSTROUTING; only packets with bit 0x1000 of the mark",
    package="kzn_probe_marked",
    resource="marked.bpf.o",
    hooks=(
        NetfilterHook("ipv4", "marked_ipv4", POST_ROUTING, PRIORITIES),
        NetfilterHook("ipv6", "marked_ipv6", POST_ROUTING, PRIORITIES),
    ),
    features=(
        Feature(
            btf_type="bpf_nf_ctx",
            meaning="BPF programs on netfilter hooks",
            hint="it needs Linux 6.4 or later with CONFIG_NETFILTER_BPF_LINK=y",
        ),
    ),
)
