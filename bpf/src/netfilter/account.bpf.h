/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Parses, measures, classifies and accounts a packet at a netfilter hook that knows the output
 * device: LOCAL_OUT, FORWARD, POSTROUTING.
 */
#ifndef KZN_NETFILTER_ACCOUNT_BPF_H
#define KZN_NETFILTER_ACCOUNT_BPF_H

static __always_inline void account_ipv4(struct bpf_nf_ctx *ctx)
{
	struct flow_counts counts = {.packets = 1, .bytes = ctx->skb->len};
	enum total reason = TOTAL_MISSED_PARSE;
	struct control *ctl = get_control();
	struct packet packet = {};
	struct flow_words key;

	if (!ctl)
		return;
	if (parse_ipv4(ctx, &packet, &key)) {
		measure(ctx, &packet, 0,
			kernel_cast(struct inet_skb_parm, ctx->skb->cb)->frag_max_size, &counts);
		reason = classify_direction(ctl, ctx->skb, ctx->state);
		if (may_encapsulate(packet.protocol))
			key_by_inner(ctx, &packet, tunnel_role(ctx->state), &key);
	}
	account(ctl, &key, &counts, reason);
}

static __always_inline void account_ipv6(struct bpf_nf_ctx *ctx)
{
	struct flow_counts counts = {.packets = 1, .bytes = ctx->skb->len};
	enum total reason = TOTAL_MISSED_PARSE;
	struct control *ctl = get_control();
	struct packet packet = {};
	struct flow_words key;

	if (!ctl)
		return;
	if (parse_ipv6(ctx, &packet, &key)) {
		measure(ctx, &packet, IPV6_FRAGMENT_HEADER,
			kernel_cast(struct inet6_skb_parm, ctx->skb->cb)->frag_max_size, &counts);
		reason = classify_direction(ctl, ctx->skb, ctx->state);
		if (may_encapsulate(packet.protocol))
			key_by_inner(ctx, &packet, tunnel_role(ctx->state), &key);
	}
	account(ctl, &key, &counts, reason);
}

#endif
