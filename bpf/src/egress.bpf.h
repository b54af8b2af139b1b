/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The whole road of a packet at the egress of an uplink, for tcx and clsact. */
#ifndef KZN_EGRESS_BPF_H
#define KZN_EGRESS_BPF_H

/* What is no IP packet is not counted, not even as seen: it has no L3 bytes. */
static __always_inline int account_egress(struct __sk_buff *ctx)
{
	enum total reason = TOTAL_MISSED_PARSE;
	struct flow_counts counts = {.packets = 1};
	struct control *ctl = steering();
	__u32 network = ETHERNET_HEADER;
	struct packet packet = {};
	struct flow_words key = {}; /* Linux 6.1 is not sure that all of it is written */
	__u16 protocol = bpf_ntohs(ctx->protocol);

	if (protocol == ETH_P_8021Q || protocol == ETH_P_8021AD)
		protocol = untag(ctx, &network);
	if (!ctl || (protocol != ETH_P_IP && protocol != ETH_P_IPV6) || ctx->len < network)
		return TC_ACT_UNSPEC;
	packet.network = network;
	counts.bytes = ctx->len - network;
	if (parse(ctx, protocol, &packet, &key)) {
		if (may_wrap(&packet))
			unwrap(ctx, &packet, &key);
		measure(ctx, network, &packet, &counts);
		reason = TOTAL_SEEN;
	}
	account(ctl, &key, &counts, reason);
	return TC_ACT_UNSPEC;
}

#endif
