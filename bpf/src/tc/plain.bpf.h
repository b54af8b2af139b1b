/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The short path at tc egress: TCP and UDP without VLAN tag, IP options, fragments or tunnels,
 * whose flow has a row at its first place. As netfilter/plain.bpf.h, by direct access to the
 * packet.
 *
 * Without CAP_PERFMON the kernel adds a barrier to each store to the stack, some 6 ns. So little is
 * kept over a lookup: maps first, and headers are read again where they are needed again.
 */
#ifndef KZN_TC_PLAIN_BPF_H
#define KZN_TC_PLAIN_BPF_H

#include "../short_path.bpf.h"

struct words {
	__u64 word[6];
};

/* The IP header and the ports, or NULL if these are not in the linear part. */
static __always_inline const struct words *plain_words(struct __sk_buff *ctx, bool ipv4)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (unlikely(data + ETHERNET_HEADER + (ipv4 ? 3 : 6) * sizeof(__u64) > end))
		return 0;
	return data + ETHERNET_HEADER;
}

static __always_inline bool read_plain(const struct words *words, bool ipv4, struct plain *plain)
{
	if (ipv4)
		return take_ipv4(words->word[0], words->word[1], words->word[2], plain);
	plain->protocol = words->word[0] >> 48;
	plain->ports = words->word[5];
	return true;
}

static __always_inline void read_addresses(const struct words *words, bool ipv4,
					   struct wanted_row *row)
{
	if (ipv4) {
		row->address[0] = ipv4_addresses(words->word[1], words->word[2]);
		return;
	}
	row->address[0] = words->word[1];
	row->address[1] = words->word[2];
	row->address[2] = words->word[3];
	row->address[3] = words->word[4];
}

/* Whether the protocol is one of the short path, and nothing is encapsulated in it. */
static __always_inline bool is_plain_protocol(const struct plain *plain)
{
	__u16 source = bpf_ntohs(plain->ports & 0xffff), dest = bpf_ntohs(plain->ports >> 16);

	if (likely(plain->protocol == IPPROTO_TCP))
		return true;
	return plain->protocol == IPPROTO_UDP && !may_be_encrypted(source, dest) &&
	       !is_tunnel_port(dest);
}

/* Packed counts of a packet that is segmented; 0 if it is not TCP: an unknown tunnel may be in it.
 */
__noinline __u64 measure_plain_segments(struct __sk_buff *ctx, bool ipv4)
{
	struct packet packet = {
		.protocol = IPPROTO_TCP,
		.transport = ETHERNET_HEADER + (ipv4 ? IPV4_HEADER : IPV6_HEADER),
	};
	struct flow_counts counts;
	__u8 protocol = 0;

	bpf_skb_load_bytes(ctx, ETHERNET_HEADER + (ipv4 ? 9 : 6), &protocol, 1);
	if (protocol != IPPROTO_TCP)
		return 0;
	measure(ctx, ETHERNET_HEADER, &packet, &counts);
	return packed(&counts);
}

/* Flags of a TCP header. Without CAP_PERFMON, Linux 6.1 lets no helper write to a byte of the stack
 * that has a constant other than 0.
 */
static __always_inline __u8 read_tcp_flags(struct __sk_buff *ctx, bool ipv4)
{
	__u8 flags = 0;

	if (bpf_skb_load_bytes(ctx,
			       ETHERNET_HEADER + (ipv4 ? IPV4_HEADER : IPV6_HEADER) +
				       __builtin_offsetof(struct tcphdr, flags),
			       &flags, 1))
		return TCP_SYN;
	return flags;
}

/* Whether a row has the addresses of a packet. */
static __always_inline bool has_words(const struct flow_row *row, const struct words *words,
				      bool ipv4)
{
	struct wanted_row wanted;

	read_addresses(words, ipv4, &wanted);
	return has_addresses(row, wanted.address, ipv4);
}

/* Packed counts; 0 for a packet that the full path has to measure. */
static __always_inline __u64 measure_plain(struct __sk_buff *ctx, bool ipv4)
{
	if (unlikely(ctx->gso_size))
		return measure_plain_segments(ctx, ipv4);
	return ONE_PACKET | (ctx->len - ETHERNET_HEADER);
}

static __always_inline void add_packed_seen(__u32 active, __u64 added)
{
	struct totals *buffer_totals = get_totals(active);

	if (buffer_totals)
		add_packed(seen_of(buffer_totals), added);
}

/* Accounts the packet if its flow is at another place than the first, or is that of another
 * initiator than the presumed one.
 */
static __always_inline bool account_other(struct __sk_buff *ctx, bool ipv4, __u32 active)
{
	bool is_handshake = read_tcp_flags(ctx, ipv4) & TCP_SYN;
	__u64 added = measure_plain(ctx, ipv4), input = input_word(ctx->ingress_ifindex);
	const struct words *words = plain_words(ctx, ipv4);
	struct wanted_row row = {};
	struct flow_counts counts;
	struct plain plain = {};

	if (!added || !words || !read_plain(words, ipv4, &plain))
		return false;
	read_addresses(words, ipv4, &row);
	counts.packets = added >> KZN_PACKED_BYTES;
	counts.bytes = added & (ONE_PACKET - 1);
	if (!add_to_flow_of(&row, first_tail(&plain, 0) | input, ipv4, active, &counts) &&
	    (is_handshake || !awaits(&plain, 0) ||
	     !add_to_others(&plain, &row, input, ipv4, active, &counts)))
		return false;
	add_packed_seen(active, added);
	return true;
}

__noinline bool account_others(struct __sk_buff *ctx, bool ipv4, __u32 active)
{
	return ipv4 ? account_other(ctx, true, active) : account_other(ctx, false, active);
}

/* Whether the packet was accounted. Over the lookup of the row, four registers are kept. */
static __always_inline bool account_plain(struct __sk_buff *ctx, bool ipv4)
{
	struct control *ctl = get_control();
	const struct words *words;
	struct wanted_row wanted;
	struct flow_row *row;
	struct plain plain;
	__u64 added, tail;
	__u32 active;

	if (unlikely(!ctl) || may_be_tunnel(ctl, ctx->ingress_ifindex))
		return false;
	active = get_active(ctl);
	if (unlikely(active > 1)) /* KZN_STOPPED */
		return true;
	wanted.cpu = get_cpu(ipv4);
	words = plain_words(ctx, ipv4);
	if (!words || !read_plain(words, ipv4, &plain) || unlikely(!is_plain_protocol(&plain)))
		return false;
	tail = first_tail(&plain, 0) | input_word(ctx->ingress_ifindex);
	barrier_var(tail);
	read_addresses(words, ipv4, &wanted);
	begin_hash(&wanted, ipv4);
	barrier_var(wanted.hash);
	identify(&wanted, tail);
	row = first_row(&wanted, active);
	words = plain_words(ctx, ipv4);
	wanted.cpu = get_cpu(ipv4);
	if (unlikely(!row || !words || !has_words(row, words, ipv4) || !has_identity(row, &wanted)))
		return account_others(ctx, ipv4, active);
	added = measure_plain(ctx, ipv4);
	if (unlikely(!added))
		return false;
	add_packed(&row->counts, added);
	add_packed_seen(active, added);
	return true;
}

#endif
