/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The short path of nearly all packets: TCP and UDP without IP options, fragments or tunnels, whose
 * flow has a row, or which make no flow because of their devices.
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

#define KZN_LEFT (-1)

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

/* classify_direction() of what is not simply sent by an uplink. */
static __noinline enum total classify_other(struct control *ctl, const struct bpf_nf_ctx *ctx)
{
	return classify_direction(ctl, ctx->skb, ctx->state);
}

/* Adds a packet to its flow in the hash, to that of another initiator than the presumed one, or to
 * a new one. Reads the headers again, so that nothing of them has to be kept until here.
 * TOTAL_SEEN, or the reason why it is in no flow; KZN_LEFT for a packet that is to take the full
 * path.
 */
static __always_inline int add_elsewhere(struct bpf_nf_ctx *ctx, bool ipv4, __u32 active,
					 const struct flow_counts *counts, bool inbound)
{
	__u64 input = input_word(input_index(ctx->state));
	const struct sk_buff *skb = ctx->skb;
	struct control *ctl = get_control();
	struct wanted_row row = {};
	struct plain plain;
	__u8 initiator, presumed;
	struct ends ends;
	bool of_source;
	__u64 tail;

	if (!ctl || !read_plain(skb, ipv4, &row, &plain))
		return KZN_LEFT;
	initiator = find_initiator(skb);
	if (add_to_flow_of(&row, first_tail(&plain, initiator) | input, ipv4, active, counts))
		return TOTAL_SEEN;
	of_source = is_from_lower_port(&plain);
	presumed = of_source ? KZN_INITIATOR_DESTINATION : KZN_INITIATOR_SOURCE;
	if (awaits(&plain, initiator)) {
		if (!is_established(skb, ipv4))
			return KZN_LEFT;
		if (ctl->others && add_to_others(&plain, &row, input, ipv4, active, counts))
			return TOTAL_SEEN;
		read_plain_ends(&plain, &row, &ends);
		initiator = find_by_endpoints(&ends);
		if (initiator)
			of_source = initiator == KZN_INITIATOR_DESTINATION;
		tail = plain_tail(plain.ports, IPPROTO_TCP, of_source, initiator) | input;
		if (initiator == presumed)
			identify_plain(&row, ipv4, tail);
		else if (add_to_flow_of(&row, tail, ipv4, active, counts))
			return TOTAL_SEEN;
	}
	if (plain.protocol == IPPROTO_TCP && initiator != presumed)
		note_other(ctl);
	return add_to_new(ctl, &row, counts, active, inbound);
}

/* Whether the packet, whose flow is not at its first place, was accounted. A global function, which
 * the verifier follows once.
 */
__noinline bool account_elsewhere(struct bpf_nf_ctx *ctx, bool ipv4, __u32 active, __u64 added,
				  enum total reason)
{
	struct flow_counts counts = {
		.packets = added >> KZN_PACKED_BYTES,
		.bytes = added & (ONE_PACKET - 1),
	};
	struct totals *buffer_totals = get_totals(active);
	bool inbound = reason == KZN_INBOUND_IN_FLOWS;
	int missed;

	if (!buffer_totals)
		return true;
	missed = ipv4 ? add_elsewhere(ctx, true, active, &counts, inbound)
		      : add_elsewhere(ctx, false, active, &counts, inbound);
	if (missed == KZN_LEFT)
		return false;
	add_packed(seen_of(buffer_totals), added);
	if (inbound)
		add(&buffer_totals->slot[KZN_INBOUND_IN_FLOWS], &counts);
	if (missed)
		add_to_reason(buffer_totals, missed, &counts);
	return true;
}

/* Adds a packet to the row of its flow, after all at the first place or at the next ones, or to its
 * flow in the hash if all places are taken. By values, and the addresses read again, so that what
 * most packets take keeps nothing in memory.
 */
static __always_inline bool add_to_next_place(struct bpf_nf_ctx *ctx, __u64 hash, __u64 tail,
					      bool ipv4, __u32 active, __u64 added)
{
	struct wanted_row wanted = {.cpu = get_cpu(ipv4), .hash = hash, .tail = tail};
	struct flow_counts counts;
	struct flow_row *row;
	struct plain plain;
	int i;

	if (!read_plain(ctx->skb, ipv4, &wanted, &plain))
		return false;
#pragma clang loop unroll(full)
	for (i = 0; i < KZN_PLACES; i++) {
		row = row_at((hash >> settings.place_shift) + i, active);
		if (!row)
			return false;
		if (has_identity(row, &wanted) && has_addresses(row, wanted.address, ipv4)) {
			add_packed(&row->counts, added);
			return true;
		}
		if (*(volatile __u64 *)&row->word[0] == KZN_ROW_EMPTY)
			return false; /* of most new flows the first */
	}
	counts.packets = added >> KZN_PACKED_BYTES;
	counts.bytes = added & (ONE_PACKET - 1);
	return add_to_hashed(&wanted, &counts, active);
}

static __noinline bool add_to_next_ipv4(struct bpf_nf_ctx *ctx, __u64 hash, __u64 tail,
					__u32 active, __u64 added)
{
	return add_to_next_place(ctx, hash, tail, true, active, added);
}

static __noinline bool add_to_next_ipv6(struct bpf_nf_ctx *ctx, __u64 hash, __u64 tail,
					__u32 active, __u64 added)
{
	return add_to_next_place(ctx, hash, tail, false, active, added);
}

static __always_inline bool add_to_next(struct bpf_nf_ctx *ctx, const struct wanted_row *row,
					bool ipv4, __u32 active, __u64 added)
{
	return ipv4 ? add_to_next_ipv4(ctx, row->hash, row->tail, active, added)
		    : add_to_next_ipv6(ctx, row->hash, row->tail, active, added);
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
		identify_plain(row, ipv4, tail);
		if (unlikely(!add_to_first_place(row, ipv4, active, added)) &&
		    !add_to_next(ctx, row, ipv4, active, added))
			return account_elsewhere(ctx, ipv4, active, added, reason);
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
