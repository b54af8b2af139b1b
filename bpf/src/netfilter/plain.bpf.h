/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The short path of nearly all packets: TCP and UDP without IP options, fragments or tunnels, whose
 * flow has a row at its first place, or which make no flow because of their devices.
 *
 * Every other packet is left, uncounted, to the full path. For each packet that the short path
 * takes, the full one would find the same key and the same counts; tests compare both.
 */
#ifndef KZN_NETFILTER_PLAIN_BPF_H
#define KZN_NETFILTER_PLAIN_BPF_H

#include "../short_path.bpf.h"

/* The headers of a packet in 64-bit words, read through a struct of the kernel that consists of
 * such words: eight bytes a load.
 */
#define words_of(address) kernel_cast(struct rtnl_link_stats64, address)

/* Bytes of skb->cb at a constant offset are plain loads. */
#define cb_word_at(skb, offset) ((skb)->cb[offset] | (skb)->cb[(offset) + 1])

/* Whether conntrack reassembled the packet from fragments: frag_max_size, which is at one or two
 * places in the kernels there are.
 */
static __always_inline bool is_reassembled(const struct sk_buff *skb, bool ipv4)
{
	if (ipv4) {
		if (bpf_core_field_offset(struct inet_skb_parm, frag_max_size) == 22)
			return cb_word_at(skb, 22);
		return kernel_cast(struct inet_skb_parm, skb->cb)->frag_max_size;
	}
	if (bpf_core_field_offset(struct inet6_skb_parm, frag_max_size) == 18)
		return cb_word_at(skb, 18);
	if (bpf_core_field_offset(struct inet6_skb_parm, frag_max_size) == 20) /* with MIP6 */
		return cb_word_at(skb, 20);
	return kernel_cast(struct inet6_skb_parm, skb->cb)->frag_max_size;
}

static __always_inline bool read_plain(const struct sk_buff *skb, bool ipv4, struct wanted_row *row,
				       struct plain *plain)
{
	const struct rtnl_link_stats64 *words;
	__u64 second, third;

	if (unlikely(skb->len - skb->data_len < (ipv4 ? IPV4_HEADER : IPV6_HEADER) + UDP_HEADER))
		return false;
	words = words_of(skb->data);
	if (ipv4) {
		second = words->tx_packets;
		third = words->rx_bytes;
		row->address[0] = ipv4_addresses(second, third);
		return take_ipv4(words->rx_packets, second, third, plain);
	}
	row->address[0] = words->tx_packets;
	row->address[1] = words->rx_bytes;
	row->address[2] = words->tx_bytes;
	row->address[3] = words->rx_errors;
	plain->protocol = words->rx_packets >> 48;
	plain->ports = words->tx_errors;
	return true;
}

/* Whether the protocol is one of the short path, and nothing is encapsulated in it. */
static __always_inline bool is_plain_protocol(const struct plain *plain)
{
	if (likely(plain->protocol == IPPROTO_TCP))
		return true;
	return plain->protocol == IPPROTO_UDP &&
	       !may_be_encrypted(bpf_ntohs(plain->ports & 0xffff), bpf_ntohs(plain->ports >> 16));
}

/* Packed counts of a packet that is segmented. */
__noinline __u64 measure_plain_segments(struct bpf_nf_ctx *ctx, __u32 header)
{
	const struct sk_buff *skb = ctx->skb;
	struct flow_counts counts = {.packets = 1, .bytes = skb->len};
	struct packet packet = {
		.linear = skb->len - skb->data_len,
		.transport = header,
		.unfragmentable = header,
	};

	measure_segments(ctx, &packet, kernel_cast(struct skb_shared_info, skb->head + skb->end),
			 &counts);
	return packed(&counts);
}

/* Packed counts; 0 for a packet that will be fragmented, or was. */
static __always_inline __u64 measure_plain(struct bpf_nf_ctx *ctx, bool ipv4)
{
	const struct sk_buff *skb = ctx->skb;
	__u32 length = skb->len;

	if (kernel_cast(struct skb_shared_info, skb->head + skb->end)->gso_size)
		return measure_plain_segments(ctx, ipv4 ? IPV4_HEADER : IPV6_HEADER);
	if (unlikely(length > ctx->state->out->mtu) || unlikely(is_reassembled(skb, ipv4)))
		return 0;
	return ONE_PACKET | length;
}

/* Whether a TCP packet is not part of a handshake. */
static __always_inline bool is_established(const struct sk_buff *skb, bool ipv4)
{
	__u32 header = ipv4 ? IPV4_HEADER : IPV6_HEADER;

	return skb->len - skb->data_len >= header + sizeof(struct tcphdr) &&
	       !(kernel_cast(struct tcphdr, skb->data + header)->flags & TCP_SYN);
}

/* Adds a packet to the flow to look for first at another place than its first, or to another flow.
 * Reads the headers again, so that nothing of them has to be kept until here.
 */
static __always_inline bool add_elsewhere(struct bpf_nf_ctx *ctx, bool ipv4, __u32 active,
					  __u64 added)
{
	__u64 input = input_word(input_index(ctx->state));
	const struct sk_buff *skb = ctx->skb;
	struct wanted_row row = {};
	struct plain plain;
	__u8 initiator;

	if (!read_plain(skb, ipv4, &row, &plain))
		return false;
	initiator = find_initiator(skb);
	if (awaits(&plain, initiator) && is_established(skb, ipv4) &&
	    add_to_other_flow(&plain, &row, input, ipv4, active, added))
		return true;
	return add_to_first_flow(&plain, &row, initiator, input, ipv4, active, added);
}

static __noinline bool add_to_any_plain_flow(struct bpf_nf_ctx *ctx, bool ipv4, __u32 active,
					     __u64 added)
{
	return ipv4 ? add_elsewhere(ctx, true, active, added)
		    : add_elsewhere(ctx, false, active, added);
}

/* classify_direction() of what is not simply sent by an uplink. */
static __noinline enum total classify_other(struct control *ctl, const struct bpf_nf_ctx *ctx)
{
	return classify_direction(ctl, ctx->skb, ctx->state);
}

/* Adds a packet that makes no flow, or is in flows and came in by an uplink. */
static __noinline void add_plain_to_reason(struct totals *buffer_totals, enum total reason,
					   __u64 added)
{
	struct flow_counts counts = {
		.packets = added >> KZN_PACKED_BYTES,
		.bytes = added & (ONE_PACKET - 1),
	};

	add_to_reason(buffer_totals, reason, &counts);
}

/* Whether the packet was accounted. `reason` as of classify_direction(). */
static __always_inline bool add_plain(struct bpf_nf_ctx *ctx, struct wanted_row *row, __u64 tail,
				      bool ipv4, __u32 active, enum total reason)
{
	__u64 added = measure_plain(ctx, ipv4);
	struct totals *buffer_totals;

	if (unlikely(!added))
		return false;
	buffer_totals = get_totals(active);
	if (unlikely(!buffer_totals)) /* KZN_STOPPED */
		return true;
	if (!reason || reason == KZN_INBOUND_IN_FLOWS) {
		row->cpu = get_cpu(ipv4);
		hash_addresses(row, ipv4);
		identify(row, tail);
		if (unlikely(!add_to_first_place(row, ipv4, active, added)) &&
		    !add_to_any_plain_flow(ctx, ipv4, active, added))
			return false;
	}
	add_packed(seen_of(buffer_totals), added);
	if (reason)
		add_plain_to_reason(buffer_totals, reason, added);
	return true;
}

/* Whether the packet was accounted. What most packets take is compiled apart, without variables for
 * what it does not need.
 */
static __always_inline bool account_plain(struct bpf_nf_ctx *ctx, bool ipv4)
{
	const struct sk_buff *skb = ctx->skb;
	struct wanted_row row;
	struct control *ctl;
	struct plain plain;
	__u32 active, in;
	__u64 tail;

	if (!read_plain(skb, ipv4, &row, &plain) || unlikely(!is_plain_protocol(&plain)))
		return false;
	in = input_index(ctx->state);
	tail = first_tail(&plain, find_initiator(skb)) | input_word(in);
	ctl = get_control();
	if (unlikely(!ctl) || (in && may_be_tunnel(ctl, in)))
		return false;
	active = get_active(ctl);
	if (likely(is_uplink(ctl, ctx->state->out->ifindex) && !awaits_ipsec(skb)))
		return add_plain(ctx, &row, tail, ipv4, active, TOTAL_SEEN);
	return add_plain(ctx, &row, tail, ipv4, active, classify_other(ctl, ctx));
}

#endif
