/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Computes how many packets a packet at tc egress becomes on the wire, and how many L3 bytes these
 * have. Segmentation (GSO) happens after this hook, fragmentation before it.
 */
#ifndef KZN_TC_MEASURE_BPF_H
#define KZN_TC_MEASURE_BPF_H

/* Bytes of transport header that each segment repeats. */
static __always_inline __u32 transport_header_len(struct __sk_buff *ctx,
						  const struct packet *packet)
{
	__u8 doff_res = 0;

	if (packet->protocol == IPPROTO_TCP) {
		bpf_skb_load_bytes(ctx, packet->transport + TCP_DOFF_OFFSET, &doff_res, 1);
		return (doff_res >> 4) * 4;
	}
	if (packet->protocol == IPPROTO_UDP)
		return UDP_HEADER;
	if (packet->protocol == IPPROTO_SCTP)
		return SCTP_HEADER;
	return 0;
}

/* `outer` is the offset of the outer IP header, `packet` the (inner) packet that is segmented. */
static __always_inline void measure(struct __sk_buff *ctx, __u32 outer, const struct packet *packet,
				    struct flow_counts *counts)
{
	__u32 size = ctx->gso_size, segments = ctx->gso_segs, length = ctx->len - outer, header;

	counts->packets = 1;
	counts->bytes = length;
	if (!size)
		return;
	header = packet->transport - outer + transport_header_len(ctx, packet);
	if (header >= length) /* malformed, the stack makes no such packet: count it as one */
		return;
	if (size != GSO_BY_FRAGS)
		segments = (length - header + size - 1) / size;
	if (!segments)
		segments = 1;
	counts->packets = segments;
	counts->bytes = length - packet->jumbo + (__u64)(segments - 1) * (header - packet->jumbo);
}

#endif
