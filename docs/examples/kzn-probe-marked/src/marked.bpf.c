// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Netfilter POSTROUTING: counts the packets that a firewall rule has marked, and sees no others. */
#include "kernel_types.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include "flow.h"
#include "account.bpf.h"
#include "protocols.bpf.h"
#include "endpoints.bpf.h"
#include "netfilter/parse.bpf.h"
#include "netfilter/measure.bpf.h"
#include "netfilter/uplinks.bpf.h"
#include "netfilter/inner.bpf.h"
#include "netfilter/initiator.bpf.h"
#include "netfilter/plain.bpf.h"
#include "netfilter/account.bpf.h"

/* A constant of this probe, beside kzn's settings; the agent does not change it. */
const volatile __u32 marks = MARK;

/* A field that kernel_types.h does not declare. libbpf ignores ___ and what follows when it looks
 * for the type in the kernel (CO-RE).
 */
struct sk_buff___marked {
	__u32 mark;
} __attribute__((preserve_access_index));

static __always_inline bool is_marked(const struct sk_buff *skb)
{
	return ((const struct sk_buff___marked *)skb)->mark & marks;
}

SEC("netfilter")
int marked_ipv4(struct bpf_nf_ctx *ctx)
{
	if (is_marked(ctx->skb))
		account_ipv4(ctx);
	return NF_ACCEPT;
}

SEC("netfilter")
int marked_ipv6(struct bpf_nf_ctx *ctx)
{
	if (is_marked(ctx->skb))
		account_ipv6(ctx);
	return NF_ACCEPT;
}

char LICENSE[] SEC("license") = "GPL";
