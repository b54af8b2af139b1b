/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The short path of nearly all packets: TCP and UDP without IP options, fragments or tunnels, whose
 * flow has a row at its first place, or which make no flow because of their devices.
 *
 * Every other packet is left, uncounted, to the full path. For each packet that the short path
 * takes, the full one would find the same key and the same counts; tests compare both.
 */
#ifndef KZN_NETFILTER_PLAIN_BPF_H
#define KZN_NETFILTER_PLAIN_BPF_H

#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define IPV4_PLAIN 0xff3f0000000000ffull /* of the first word: version, length, MF and offset */
#define IPV4_WITHOUT_OPTIONS 0x45

/* The headers of a packet in 64-bit words, read through a struct of the kernel that consists of
 * such words: eight bytes a load.
 */
#define words_of(address) kernel_cast(struct rtnl_link_stats64, address)

struct plain {
	__u32 header; /* bytes of the IP header */
	__u32 ports; /* as in the packet: source in the low half */
	__u8 protocol;
};

static __always_inline bool read_ipv4(const struct sk_buff *skb, struct wanted_row *row,
				      struct plain *plain)
{
	const struct rtnl_link_stats64 *words = words_of(skb->data);
	__u64 first = words->rx_packets, second = words->tx_packets, third = words->rx_bytes;

	if (unlikely((first & IPV4_PLAIN) != IPV4_WITHOUT_OPTIONS))
		return false;
	row->address[0] = second >> 32 | third << 32;
	row->address[1] = row->address[2] = row->address[3] = 0;
	plain->header = IPV4_HEADER;
	plain->protocol = second >> 8;
	plain->ports = third >> 32;
	return true;
}

static __always_inline void read_ipv6(const struct sk_buff *skb, struct wanted_row *row,
				      struct plain *plain)
{
	const struct rtnl_link_stats64 *words = words_of(skb->data);

	row->address[0] = words->tx_packets;
	row->address[1] = words->rx_bytes;
	row->address[2] = words->tx_bytes;
	row->address[3] = words->rx_errors;
	plain->header = IPV6_HEADER;
	plain->protocol = words->rx_packets >> 48;
	plain->ports = words->tx_errors;
}

/* Whether the protocol is one of the short path, and nothing is encapsulated in it. */
static __always_inline bool is_plain_protocol(const struct plain *plain)
{
	__u16 source = bpf_ntohs(plain->ports & 0xffff), dest = bpf_ntohs(plain->ports >> 16);

	if (plain->protocol == IPPROTO_TCP)
		return true;
	return plain->protocol == IPPROTO_UDP && !may_be_encrypted(source, dest);
}

__noinline int measure_plain_segments(struct bpf_nf_ctx *ctx, __u32 header,
				      struct flow_counts *counts)
{
	const struct sk_buff *skb = ctx->skb;
	struct packet packet = {
		.linear = skb->len - skb->data_len,
		.transport = header,
		.unfragmentable = header,
	};

	if (counts)
		measure_segments(ctx, &packet,
				 kernel_cast(struct skb_shared_info, skb->head + skb->end), counts);
	return 0;
}

/* False for a packet that will be fragmented, or was. */
static __always_inline bool measure_plain(struct bpf_nf_ctx *ctx, __u32 header, __u16 largest,
					  struct flow_counts *counts)
{
	const struct sk_buff *skb = ctx->skb;

	counts->packets = 1;
	counts->bytes = skb->len;
	if (kernel_cast(struct skb_shared_info, skb->head + skb->end)->gso_size) {
		measure_plain_segments(ctx, header, counts);
		return true;
	}
	return !largest && skb->len <= ctx->state->out->mtu;
}

/* The tail of the key, without an initiator that conntrack does not tell. */
static __always_inline __u64 plain_tail(const struct sk_buff *skb, const struct plain *plain)
{
	__u8 initiator = find_initiator(skb);
	struct flow_words key;

	if (settings.ports == KZN_PORTS_NONE)
		return service_word(0, plain->protocol, initiator);
	keep_ports(&key, plain->protocol, initiator, bpf_ntohs(plain->ports & 0xffff),
		   bpf_ntohs(plain->ports >> 16));
	return key.tail;
}

/* Whether a TCP packet is not part of a handshake, which the full path has to see. */
static __always_inline bool is_established(const struct sk_buff *skb, const struct plain *plain)
{
	__u32 end = plain->header + sizeof(struct tcphdr);

	return skb->len - skb->data_len >= end &&
	       !(kernel_cast(struct tcphdr, skb->data + plain->header)->flags & TCP_SYN);
}

/* Adds the packet to the row at the first place of its flow. Without an initiator from conntrack,
 * the full path has decided on the first packet in this buffer whether it is the presumed one or
 * unknown.
 */
static __always_inline bool add_to_plain_flow(const struct sk_buff *skb, const struct plain *plain,
					      struct wanted_row *row, __u64 tail, bool ipv4,
					      __u32 active, const struct flow_counts *counts)
{
	const struct flow_words key = {.tail = tail};

	__u8 lower = presumed_initiator(tail);

	if (awaits_initiator(&key)) {
		identify(row, kept_tail(tail_with(tail, lower)), ipv4);
		if (add_to_first_place(row, active, counts))
			return true;
		if (!is_established(skb, plain))
			return false;
		identify(row, kept_tail(tail_with(tail, lower ^ KZN_INITIATORS)), ipv4);
		if (add_to_first_place(row, active, counts))
			return true;
	}
	identify(row, kept_tail(tail), ipv4);
	return add_to_first_place(row, active, counts);
}

/* Whether the packet was accounted. */
static __always_inline bool account_plain(struct bpf_nf_ctx *ctx, bool ipv4, __u16 largest)
{
	struct sk_buff *skb = ctx->skb;
	struct control *ctl = get_control();
	struct totals *buffer_totals;
	struct flow_counts counts;
	struct wanted_row row;
	struct plain plain;
	enum total reason;
	__u32 active;
	__u64 tail;

	if (unlikely(!ctl ||
		     skb->len - skb->data_len < (ipv4 ? IPV4_HEADER : IPV6_HEADER) + UDP_HEADER))
		return false;
	if (!ipv4)
		read_ipv6(skb, &row, &plain);
	else if (!read_ipv4(skb, &row, &plain))
		return false;
	if (unlikely(!is_plain_protocol(&plain)) || is_in_by_tunnel(ctl, ctx->state) ||
	    unlikely(!measure_plain(ctx, plain.header, largest, &counts)))
		return false;
	active = get_active(ctl);
	if (unlikely(active > 1)) /* KZN_STOPPED */
		return true;
	reason = classify_direction(ctl, skb, ctx->state);
	if (!reason || reason == KZN_INBOUND_IN_FLOWS) {
		tail = plain_tail(skb, &plain) | input_word(input_index(ctx->state));
		if (unlikely(!add_to_plain_flow(skb, &plain, &row, tail, ipv4, active, &counts)))
			return false;
	}
	buffer_totals = add_to_seen(active, &counts, &reason);
	if (buffer_totals && unlikely(reason))
		add_to_reason(buffer_totals, reason, &counts);
	return true;
}

#endif
