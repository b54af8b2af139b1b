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

/* An unknown tunnel's headers before that of the inner packet take at most two windows. One fits
 * the stack.
 */
#define TUNNEL_WINDOW 64

struct window {
	__u16 half[TUNNEL_WINDOW / 2];
};

/* Bytes of an IP header at an offset and its protocol, if it claims exactly the rest of the packet;
 * 0 if not. BIG TCP claims 0.
 */
static __always_inline __u32 fitting_header(struct __sk_buff *ctx, __u32 offset, __u8 *protocol)
{
	struct iphdr head4;
	struct ipv6hdr head6;
	__u32 length = ctx->len - offset, header, claimed;

	if (bpf_skb_load_bytes(ctx, offset, &head4, sizeof(head4)))
		return 0;
	if (head4.version_ihl >> 4 == 4) {
		header = (head4.version_ihl & 0xf) * 4;
		claimed = bpf_ntohs(head4.tot_len);
		*protocol = head4.protocol;
	} else {
		if (bpf_skb_load_bytes(ctx, offset, &head6, sizeof(head6)))
			return 0;
		header = sizeof(head6);
		claimed = bpf_ntohs(head6.payload_len);
		claimed += claimed ? sizeof(head6) : 0;
		*protocol = head6.nexthdr;
	}
	if (claimed ? claimed != length : length <= 0xffff)
		return 0;
	return header;
}

/* The offset of the payload, if the IP packet at an offset may be the one that is segmented, by the
 * number of segments too; 0 if not. The stack does not count the segments of a guest's packet.
 */
__noinline int segmented_payload(struct __sk_buff *ctx, __u32 offset)
{
	__u32 size = ctx->gso_size, segments = ctx->gso_segs, header, length;
	struct packet inner = {};
	__u8 protocol;

	header = fitting_header(ctx, offset, &protocol);
	if (!header || (protocol == IPPROTO_SCTP) != (size == GSO_BY_FRAGS))
		return 0;
	inner.protocol = protocol;
	inner.transport = offset + header;
	length = transport_header_len(ctx, &inner);
	if (!length || (protocol == IPPROTO_TCP && length < sizeof(struct tcphdr)))
		return 0;
	offset = inner.transport + length;
	if (offset >= ctx->len)
		return 0;
	if (size && size != GSO_BY_FRAGS && segments &&
	    (ctx->len - offset + size - 1) / size != segments)
		return 0;
	return offset;
}

/* Finds the packet that is segmented inside a tunnel that is not known, such as VXLAN on a port of
 * its own, FoU, GUE, or a pod's tunnel in the node's: the innermost IP packet that fits, within a
 * window. Returns the offset of its payload, 0 if there is none.
 */
__noinline int find_segmented(struct __sk_buff *ctx, __u32 begin)
{
	struct window window;
	int i;

	if (bpf_skb_load_bytes(ctx, begin, &window, sizeof(window)))
		return 0;
#pragma clang loop unroll(full)
	for (i = TUNNEL_WINDOW / 2 - 1; i >= 0; i--) {
		__u32 version = window.half[i] & 0xf0, payload;

		if (version != 0x40 && version != 0x60)
			continue;
		payload = segmented_payload(ctx, begin + 2 * i);
		if (payload)
			return payload;
	}
	return 0;
}

/* `outer` is the offset of the outer IP header, `packet` the innermost packet that is known. */
static __always_inline void measure(struct __sk_buff *ctx, __u32 outer, const struct packet *packet,
				    struct flow_counts *counts)
{
	__u32 size = ctx->gso_size, segments = ctx->gso_segs, length = ctx->len - outer, header;
	__u32 payload = 0;

	counts->packets = 1;
	counts->bytes = length;
	if (!size)
		return;
	if (packet->protocol != IPPROTO_TCP)
		payload = find_segmented(ctx, packet->transport + TUNNEL_WINDOW);
	if (!payload && packet->protocol != IPPROTO_TCP)
		payload = find_segmented(ctx, packet->transport);
	if (!payload)
		payload = packet->transport + transport_header_len(ctx, packet);
	header = payload - outer;
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
