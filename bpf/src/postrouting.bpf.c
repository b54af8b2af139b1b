// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Netfilter POSTROUTING, one program for each family: counts every packet that leaves. */
#include "kernel_types.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include "flow.h"
#include "account.bpf.h"
#include "parse.bpf.h"
#include "measure.bpf.h"

static __always_inline void count(const struct bpf_nf_ctx *ctx, struct packet *packet, bool parsed,
				  __u32 fragment_header)
{
	struct flow_counts counts = {.packets = 1, .bytes = ctx->skb->len};

	if (parsed) {
		measure(ctx, packet, fragment_header, &counts);
	}
	account(&packet->key, &counts, parsed ? TOTAL_SEEN : TOTAL_MISSED_PARSE);
}

SEC("netfilter")
int postrouting_ipv4(struct bpf_nf_ctx *ctx)
{
	struct packet packet = {.key.flags = initiator(ctx->skb)};

	count(ctx, &packet, parse_ipv4(ctx->skb, &packet), 0);
	return NF_ACCEPT;
}

SEC("netfilter")
int postrouting_ipv6(struct bpf_nf_ctx *ctx)
{
	struct packet packet = {.key.flags = initiator(ctx->skb)};

	count(ctx, &packet, parse_ipv6(ctx->skb, &packet), IPV6_FRAGMENT_HEADER);
	return NF_ACCEPT;
}

char LICENSE[] SEC("license") = "GPL";
