/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The short path at tc egress: TCP and UDP without VLAN tag, IP options, fragments or tunnels,
 * whose flow has a row at its first place. As netfilter/plain.bpf.h, by direct access to the
 * packet.
 */
#ifndef KZN_TC_PLAIN_BPF_H
#define KZN_TC_PLAIN_BPF_H

#define IPV4_PLAIN 0xff3f0000000000ffull /* of the first word: version, length, MF and offset */
#define IPV4_WITHOUT_OPTIONS 0x45

struct words {
	__u64 word[6];
};

struct plain {
	__u64 header; /* bytes of the link and IP headers */
	__u64 ports; /* as in the packet: source in the low half */
	__u64 protocol;
	__u64 tcp_header; /* its bytes, 0 for another protocol */
	__u64 tcp_flags;
};

static __always_inline bool read_ipv4(struct __sk_buff *ctx, struct wanted_row *row,
				      struct plain *plain)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const struct words *words = data + ETHERNET_HEADER;
	__u64 first, second, third;

	if (unlikely(data + ETHERNET_HEADER + 3 * sizeof(__u64) > end))
		return false;
	first = words->word[0];
	second = words->word[1];
	third = words->word[2];
	if (unlikely((first & IPV4_PLAIN) != IPV4_WITHOUT_OPTIONS))
		return false;
	row->address[0] = second >> 32 | third << 32;
	row->address[1] = row->address[2] = row->address[3] = 0;
	plain->header = ETHERNET_HEADER + sizeof(struct iphdr);
	plain->protocol = second >> 8 & 0xff;
	plain->ports = third >> 32;
	return true;
}

static __always_inline bool read_ipv6(struct __sk_buff *ctx, struct wanted_row *row,
				      struct plain *plain)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const struct words *words = data + ETHERNET_HEADER;

	if (unlikely((void *)(words + 1) > end))
		return false;
	row->address[0] = words->word[1];
	row->address[1] = words->word[2];
	row->address[2] = words->word[3];
	row->address[3] = words->word[4];
	plain->header = ETHERNET_HEADER + sizeof(struct ipv6hdr);
	plain->protocol = words->word[0] >> 48 & 0xff;
	plain->ports = words->word[5] & 0xffffffff;
	return true;
}

/* Whether it is UDP with nothing encapsulated. */
static __always_inline bool is_plain_udp(const struct plain *plain)
{
	__u16 source = bpf_ntohs(plain->ports), dest = bpf_ntohs(plain->ports >> 16);

	return plain->protocol == IPPROTO_UDP && !may_be_encrypted(source, dest) &&
	       !is_tunnel_port(dest);
}

/* Reads length and flags of a TCP header; false if it is not in the linear part. */
static __always_inline bool read_tcp(struct __sk_buff *ctx, struct plain *plain, bool ipv4)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const struct tcphdr *header =
		data + ETHERNET_HEADER + (ipv4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));

	if (unlikely((void *)(header + 1) > end))
		return false;
	plain->tcp_header = (header->doff_res >> 4) * 4;
	plain->tcp_flags = header->flags;
	return true;
}

/* False for segments of a packet that is not TCP: an unknown tunnel may be in it. */
static __always_inline bool measure_plain(struct __sk_buff *ctx, const struct plain *plain,
					  struct flow_counts *counts)
{
	__u32 size = ctx->gso_size, length = ctx->len - ETHERNET_HEADER, header, segments;

	counts->packets = 1;
	counts->bytes = length;
	if (likely(!size))
		return true;
	if (!plain->tcp_header || size == GSO_BY_FRAGS)
		return false;
	header = plain->header - ETHERNET_HEADER + plain->tcp_header;
	if (header >= length)
		return false;
	segments = (length - header + size - 1) / size;
	counts->packets = segments;
	counts->bytes = length + (__u64)(segments - 1) * header;
	return true;
}

/* Adds the packet to the row at the first place of its flow: with one end as the initiator, or
 * none. The full path has decided by the first packet in this buffer; it has to see each packet of
 * a handshake.
 */
static __always_inline bool add_to_plain_flow(const struct plain *plain, struct wanted_row *row,
					      __u64 input, bool ipv4, __u32 active,
					      const struct flow_counts *counts)
{
	struct flow_words key;
	__u8 lower;

	if (settings.ports == KZN_PORTS_NONE)
		key.tail = service_word(0, plain->protocol, 0);
	else
		keep_ports(&key, plain->protocol, 0, bpf_ntohs(plain->ports),
			   bpf_ntohs(plain->ports >> 16));
	key.tail |= input;
	if (awaits_initiator(&key)) {
		lower = presumed_initiator(key.tail);
		identify(row, kept_tail(tail_with(key.tail, lower)), ipv4);
		if (add_to_first_place(row, active, counts))
			return true;
		if (plain->tcp_flags & TCP_SYN)
			return false;
		identify(row, kept_tail(tail_with(key.tail, lower ^ KZN_INITIATORS)), ipv4);
		if (add_to_first_place(row, active, counts))
			return true;
	}
	identify(row, kept_tail(key.tail), ipv4);
	return add_to_first_place(row, active, counts);
}

/* Whether the packet was accounted. */
static __always_inline bool account_plain(struct __sk_buff *ctx, bool ipv4)
{
	enum total reason = TOTAL_SEEN;
	struct control *ctl = get_control();
	struct plain plain = {};
	struct flow_counts counts;
	struct wanted_row row;
	__u32 active;

	if (unlikely(!ctl) || may_be_tunnel(ctl, ctx->ingress_ifindex) ||
	    !(ipv4 ? read_ipv4(ctx, &row, &plain) : read_ipv6(ctx, &row, &plain)))
		return false;
	if (plain.protocol == IPPROTO_TCP ? unlikely(!read_tcp(ctx, &plain, ipv4))
					  : unlikely(!is_plain_udp(&plain)))
		return false;
	if (unlikely(!measure_plain(ctx, &plain, &counts)))
		return false;
	active = get_active(ctl);
	if (unlikely(active > 1)) /* KZN_STOPPED */
		return true;
	if (unlikely(!add_to_plain_flow(&plain, &row, input_word(ctx->ingress_ifindex), ipv4,
					active, &counts)))
		return false;
	add_to_seen(active, &counts, &reason);
	return true;
}

#endif
