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

/* False outside of the linear part, and if the port of the key is not there: of nested tunnels the
 * stack keeps the offsets of the innermost packet.
 */
static __always_inline bool read_head(const struct sk_buff *skb, const struct packet *packet,
				      const struct flow_words *key, struct handshake_head *head)
{
	__u32 offset = keyed_transport(skb, packet, key);
	const struct tcphdr *header;
	__u16 port = key->tail;

	if (offset + sizeof(*head) < offset || offset + sizeof(*head) > packet->linear)
		return false;
	header = kernel_cast(struct tcphdr, skb->data + offset);
	head->source = header->source;
	head->dest = header->dest;
	head->chunk = header->doff_res;
	head->flags = header->flags;
	return port == bpf_ntohs(head->source) || port == bpf_ntohs(head->dest);
}

/* Sets the initiator of a key that has none, if it can be known. Endpoints are learnt from packets
 * that leave the node alone: both ends of a connection of this node are in these, and nothing that
 * arrives can fill the map.
 */
static __noinline void settle_initiator(struct bpf_nf_ctx *ctx, const struct packet *packet,
					struct flow_words *key, bool inbound)
{
	struct handshake_head head;
	struct ends ends;
	__u8 initiator;

	if (!read_head(ctx->skb, packet, key, &head))
		return;
	read_ends(key, &head, &ends);
	initiator = initiator_by_handshake(key->tail >> 16, &head);
	if (!initiator)
		initiator = find_by_endpoints(&ends);
	else if (!inbound)
		learn_initiator(&ends, initiator);
	if (initiator)
		set_initiator(key, &ends, initiator);
}

#endif
