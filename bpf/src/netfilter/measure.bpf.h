/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Computes how many packets a packet becomes on the wire, and how many L3 bytes these have.
 *
 * The hook sees a packet before segmentation (GSO, BIG TCP) and fragmentation, which repeat
 * headers. The formulas follow net/core/gso.c, net/ipv4/ip_output.c and net/ipv6/ip6_output.c.
 */
#ifndef KZN_NETFILTER_MEASURE_BPF_H
#define KZN_NETFILTER_MEASURE_BPF_H

#define SKB_GSO_TUNNEL                                                                             \
	(SKB_GSO_GRE | SKB_GSO_GRE_CSUM | SKB_GSO_IPXIP4 | SKB_GSO_IPXIP6 | SKB_GSO_UDP_TUNNEL |   \
	 SKB_GSO_UDP_TUNNEL_CSUM)
#define IPV6_FRAGMENT_HEADER 8

static __always_inline __u32 tcp_header_len(struct bpf_nf_ctx *ctx, const struct packet *packet,
					    __u32 offset)
{
	const struct sk_buff *skb = ctx->skb;
	__u32 word;

	if (offset + sizeof(struct tcphdr) <= packet->linear)
		return (kernel_cast(struct tcphdr, skb->data + offset)->doff_res >> 4) * 4;
	if (!load_nonlinear(ctx, offset + TCP_DOFF_OFFSET, &word))
		return 0;
	return ((word & 0xff) >> 4) * 4;
}

/* Bytes of headers that each segment repeats. */
static __always_inline __u32 segment_header_len(struct bpf_nf_ctx *ctx, const struct packet *packet,
						__u32 type, __u32 size)
{
	const struct sk_buff *skb = ctx->skb;
	__u32 offset = packet->transport;

	if (type & SKB_GSO_TUNNEL)
		offset = skb->inner_transport_header - (__u32)(skb->data - skb->head);
	if (type & (SKB_GSO_TCPV4 | SKB_GSO_TCPV6))
		return offset + tcp_header_len(ctx, packet, offset);
	if (type & SKB_GSO_UDP_L4)
		return offset + UDP_HEADER;
	if (size == GSO_BY_FRAGS)
		return offset + SCTP_HEADER;
	return packet->unfragmentable;
}

static __always_inline void measure_segments(struct bpf_nf_ctx *ctx, const struct packet *packet,
					     const struct skb_shared_info *info,
					     struct flow_counts *counts)
{
	const struct sk_buff *skb = ctx->skb;
	__u32 size = info->gso_size, segments = info->gso_segs;
	__u32 header = segment_header_len(ctx, packet, info->gso_type, size);

	if (header >= skb->len) /* malformed, the stack makes no such packet: count it as one */
		return;
	if (size != GSO_BY_FRAGS)
		segments = (skb->len - header + size - 1) / size;
	if (!segments)
		segments = 1;
	counts->packets = segments;
	counts->bytes = skb->len - packet->jumbo + (__u64)(segments - 1) * (header - packet->jumbo);
}

/* All fragments but the last carry a multiple of 8 bytes; the last may fill the MTU. */
static __always_inline void measure_fragments(struct sk_buff *skb, const struct packet *packet,
					      __u32 mtu, __u32 header, struct flow_counts *counts)
{
	__u32 payload = skb->len - packet->unfragmentable;
	__u32 room = mtu - packet->unfragmentable - header;
	__u32 more;

	if (mtu < packet->unfragmentable + header + 8 || payload <= room)
		return;
	more = (payload - room + (room & ~7u) - 1) / (room & ~7u);
	counts->packets = 1 + more;
	counts->bytes = skb->len + header + (__u64)more * (packet->unfragmentable + header);
}

/* `largest` is frag_max_size: the size of the largest fragment of a packet that conntrack
 * reassembled, which the stack fragments again to at most that size; 0 for all other packets.
 */
static __always_inline void measure(struct bpf_nf_ctx *ctx, const struct packet *packet,
				    __u32 fragment_header, __u32 largest,
				    struct flow_counts *counts)
{
	const struct skb_shared_info *info;
	struct sk_buff *skb = ctx->skb;
	__u32 mtu;

	counts->packets = 1;
	counts->bytes = skb->len;
	info = kernel_cast(struct skb_shared_info, skb->head + skb->end);
	if (info->gso_size) {
		measure_segments(ctx, packet, info, counts);
		return;
	}
	mtu = ctx->state->out->mtu;
	if (largest && largest < mtu)
		mtu = largest;
	if (skb->len > mtu)
		measure_fragments(skb, packet, mtu, fragment_header, counts);
}

#endif
