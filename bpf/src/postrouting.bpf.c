// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Netfilter POSTROUTING, one program for each family: counts every packet that leaves. */
#include "kernel_types.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include "flow.h"
#include "account.bpf.h"
#include "protocols.bpf.h"
#include "parse.bpf.h"
#include "measure.bpf.h"
#include "uplink.bpf.h"
#include "inner.bpf.h"

SEC("netfilter")
int postrouting_ipv4(struct bpf_nf_ctx *ctx)
{
	struct flow_counts counts = {.packets = 1, .bytes = ctx->skb->len};
	enum total reason = TOTAL_MISSED_PARSE;
	struct control *ctl = steering();
	struct packet packet = {};
	struct flow_words key;

	if (!ctl)
		return NF_ACCEPT;
	if (parse_ipv4(ctx->skb, &packet, &key)) {
		measure(ctx, &packet, 0,
			kernel_cast(struct inet_skb_parm, ctx->skb->cb)->frag_max_size, &counts);
		reason = stays(ctl, ctx->state);
		if (may_wrap(packet.protocol) && is_wrapped(ctl, ctx->state))
			unwrap(ctx->skb, &packet, &key);
	}
	account(ctl, &key, &counts, reason);
	return NF_ACCEPT;
}

SEC("netfilter")
int postrouting_ipv6(struct bpf_nf_ctx *ctx)
{
	struct flow_counts counts = {.packets = 1, .bytes = ctx->skb->len};
	enum total reason = TOTAL_MISSED_PARSE;
	struct control *ctl = steering();
	struct packet packet = {};
	struct flow_words key;

	if (!ctl)
		return NF_ACCEPT;
	if (parse_ipv6(ctx->skb, &packet, &key)) {
		measure(ctx, &packet, IPV6_FRAGMENT_HEADER,
			kernel_cast(struct inet6_skb_parm, ctx->skb->cb)->frag_max_size, &counts);
		reason = stays(ctl, ctx->state);
		if (may_wrap(packet.protocol) && is_wrapped(ctl, ctx->state))
			unwrap(ctx->skb, &packet, &key);
	}
	account(ctl, &key, &counts, reason);
	return NF_ACCEPT;
}

char LICENSE[] SEC("license") = "GPL";
