/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Parses, measures and accounts a packet at the egress of an uplink, for tcx and clsact. */
#ifndef KZN_TC_ACCOUNT_BPF_H
#define KZN_TC_ACCOUNT_BPF_H

/* As account(), and settles the initiator of the packets of a flow that is not known. */
static __always_inline void account_settled(struct __sk_buff *ctx, struct control *ctl,
					    const struct packet *packet, struct flow_words *key,
					    const struct flow_counts *counts, enum total reason)
{
	__u32 active = get_active(ctl);
	struct totals *buffer_totals = add_to_seen(active, counts, &reason);

	if (!buffer_totals)
		return;
	if (!reason && awaits_initiator(key)) {
		if (add_to_known(active, key, counts))
			return;
		settle_initiator(ctx, packet, key);
	}
	key->tail = kept_tail(key->tail);
	if (!reason)
		reason = add_to_flow(ctl, key, counts, active, false);
	if (reason)
		add_to_reason(buffer_totals, reason, counts);
}

/* `network` is the offset of the network header. Frames without an IP packet are not counted, not
 * even as seen: they have no L3 bytes. What MPLS carries cannot always be told from IP: it is
 * missed where it is not.
 */
__noinline int account_any_egress(struct __sk_buff *ctx, __u32 network)
{
	enum total reason = TOTAL_MISSED_PARSE;
	struct flow_counts counts = {.packets = 1};
	struct control *ctl = get_control();
	struct packet packet = {};
	struct flow_words key = {}; /* initialised for the verifier of Linux 6.1 */
	__u16 protocol = bpf_ntohs(ctx->protocol);

	if (protocol != ETH_P_IP && protocol != ETH_P_IPV6)
		protocol = skip_to_ip(ctx, &network);
	if (!ctl || ctx->len < network)
		return TC_ACT_UNSPEC;
	packet.network = network;
	counts.bytes = ctx->len - network;
	if (protocol == ETH_P_IP || protocol == ETH_P_IPV6) {
		if (parse(ctx, protocol, &packet, &key)) {
			if ((!may_encapsulate(&packet) || !key_by_inner(ctx, &packet, &key)) &&
			    may_be_tunnel(ctl, ctx->ingress_ifindex))
				mark_relayed(ctx, &key);
			mark_input(&key, ctx->ingress_ifindex);
			measure(ctx, network, &packet, &counts);
			reason = TOTAL_SEEN;
		}
	} else if (protocol != ETH_P_MPLS_UC && protocol != ETH_P_MPLS_MC) {
		return TC_ACT_UNSPEC;
	}
	account_settled(ctx, ctl, &packet, &key, &counts, reason);
	return TC_ACT_UNSPEC;
}

/* Apart, since its stack and that of the full path do not fit into one. Both are global functions,
 * so that the verifier does not follow the full path once for each way of the short one.
 */
__noinline bool account_plain_egress(struct __sk_buff *ctx)
{
	if (ctx->protocol == bpf_htons(ETH_P_IP))
		return account_plain(ctx, true);
	return ctx->protocol == bpf_htons(ETH_P_IPV6) && account_plain(ctx, false);
}

static __always_inline int account_egress(struct __sk_buff *ctx, __u32 network)
{
	if (network == ETHERNET_HEADER && account_plain_egress(ctx))
		return TC_ACT_UNSPEC;
	return account_any_egress(ctx, network);
}

#endif
