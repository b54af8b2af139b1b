/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which end opened the connection of a packet without a conntrack entry (no conntrack, NOTRACK, the
 * inner packet of a tunnel): by the handshake, or by endpoints that are known.
 */
#ifndef KZN_NETFILTER_INITIATOR_BPF_H
#define KZN_NETFILTER_INITIATOR_BPF_H

/* The offset of the transport header that a key has its ports from. An outer packet is not TCP or
 * SCTP, so that a key of these is the inner packet's.
 */
static __always_inline __u32 keyed_transport(const struct sk_buff *skb, const struct packet *packet,
					     const struct flow_words *key)
{
	if (packet->protocol == (__u8)(key->tail >> 16))
		return packet->transport;
	return skb->inner_transport_header - (__u32)(skb->data - skb->head);
}

/* The initiator by a packet of a handshake, 0 for any other packet, and outside of the linear part.
 * The ports must be those of the key: of nested tunnels the stack keeps the offsets of the
 * innermost packet.
 */
static __always_inline __u8 read_handshake(const struct sk_buff *skb, const struct packet *packet,
					   const struct flow_words *key, const struct ends *ends)
{
	__u32 offset = keyed_transport(skb, packet, key);
	struct handshake_bytes bytes;
	const struct tcphdr *header;

	if (offset > packet->linear || packet->linear - offset < TCP_DOFF_OFFSET + sizeof(bytes))
		return 0;
	header = kernel_cast(struct tcphdr, skb->data + offset);
	if (bpf_ntohs(header->source) != (__u16)ends->source.port ||
	    bpf_ntohs(header->dest) != (__u16)ends->destination.port)
		return 0;
	bytes.chunk = header->doff_res;
	bytes.flags = header->flags;
	return initiator_by_handshake(key->tail >> 16, &bytes);
}

/* Sets the initiator of a key that has none, if it can be known. Endpoints are learnt from packets
 * that leave the node alone: each service at either end of a connection of this node is in one of
 * these, and nothing that arrives can fill the map.
 */
static __noinline void settle_initiator(struct bpf_nf_ctx *ctx, const struct packet *packet,
					struct flow_words *key, bool inbound)
{
	struct ends ends;
	__u8 initiator;

	read_ends(key, &ends);
	initiator = read_handshake(ctx->skb, packet, key, &ends);
	if (!initiator)
		initiator = find_by_endpoints(&ends);
	else if (!inbound)
		learn_initiator(&ends, initiator);
	if (initiator)
		key->tail = tail_with(key->tail, initiator);
}

#endif
