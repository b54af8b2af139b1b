/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Parses, measures, classifies and accounts a packet at a netfilter hook that knows the output
 * device: LOCAL_OUT, FORWARD, POSTROUTING.
 */
#ifndef KZN_NETFILTER_ACCOUNT_BPF_H
#define KZN_NETFILTER_ACCOUNT_BPF_H

/* As account(), and settles the initiator of packets that have none from conntrack. */
static __always_inline void account_settled(struct bpf_nf_ctx *ctx, struct control *ctl,
					    const struct packet *packet, struct flow_words *key,
					    const struct flow_counts *counts, enum total reason)
{
	bool inbound = reason == KZN_INBOUND_IN_FLOWS;
	__u32 active = get_active(ctl);
	struct totals *buffer_totals = add_to_seen(active, counts, &reason);

	if (!buffer_totals)
		return;
	if (!reason && awaits_initiator(key)) {
		if (add_to_known(active, key, counts))
			return;
		settle_initiator(ctx, packet, key, inbound);
	}
	note_initiator(ctl, key->tail);
	key->tail = kept_tail(key->tail);
	if (!reason)
		reason = add_to_flow(ctl, key, counts, active, inbound);
	if (reason)
		add_to_reason(buffer_totals, reason, counts);
}

/* Accounts any packet. Global functions, so that the verifier does not follow them once for each
 * way of the short path.
 */
__noinline int account_any_ipv4(struct bpf_nf_ctx *ctx)
{
	struct flow_counts counts = {.packets = 1, .bytes = ctx->skb->len};
	enum total reason = TOTAL_MISSED_PARSE;
	struct control *ctl = get_control();
	struct packet packet = {};
	struct flow_words key;

	if (!ctl)
		return 0;
	if (parse_ipv4(ctx, &packet, &key)) {
		measure(ctx, &packet, 0,
			kernel_cast(struct inet_skb_parm, ctx->skb->cb)->frag_max_size, &counts);
		reason = classify_direction(ctl, ctx->skb, ctx->state);
		if (may_encapsulate(packet.protocol) || is_in_by_tunnel(ctl, ctx->state))
			key_by_tunnel(ctx, &packet, reason, &key);
		mark_input(&key, input_index(ctx->state));
	}
	account_settled(ctx, ctl, &packet, &key, &counts, reason);
	return 0;
}

__noinline int account_any_ipv6(struct bpf_nf_ctx *ctx)
{
	struct flow_counts counts = {.packets = 1, .bytes = ctx->skb->len};
	enum total reason = TOTAL_MISSED_PARSE;
	struct control *ctl = get_control();
	struct packet packet = {};
	struct flow_words key;

	if (!ctl)
		return 0;
	if (parse_ipv6(ctx, &packet, &key)) {
		measure(ctx, &packet, IPV6_FRAGMENT_HEADER,
			kernel_cast(struct inet6_skb_parm, ctx->skb->cb)->frag_max_size, &counts);
		reason = classify_direction(ctl, ctx->skb, ctx->state);
		if (may_encapsulate(packet.protocol) || is_in_by_tunnel(ctl, ctx->state))
			key_by_tunnel(ctx, &packet, reason, &key);
		mark_input(&key, input_index(ctx->state));
	}
	account_settled(ctx, ctl, &packet, &key, &counts, reason);
	return 0;
}

static __always_inline void account_ipv4(struct bpf_nf_ctx *ctx)
{
	if (!account_plain(ctx, true))
		account_any_ipv4(ctx);
}

static __always_inline void account_ipv6(struct bpf_nf_ctx *ctx)
{
	if (!account_plain(ctx, false))
		account_any_ipv6(ctx);
}

#endif
