/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The packet in a packet that this node has wrapped up, where the stack noted its headers.
 *
 * For hooks that see the kernel's own struct; egress of a device has overlay.bpf.h.
 */
#ifndef KZN_INNER_BPF_H
#define KZN_INNER_BPF_H

#define MIN_ETHERNET_PAYLOAD 46 /* shorter frames are filled up */

static __always_inline bool may_wrap(__u8 protocol)
{
	return protocol == IPPROTO_UDP || protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6 ||
	       protocol == IPPROTO_GRE || protocol == IPPROTO_ESP;
}

/* Encrypted contents have no such header. BIG TCP says 0. */
static __always_inline bool says_its_length(__u32 there, __u32 said)
{
	if (!said)
		return there > 0xffff;
	return said == there || (said < there && there <= MIN_ETHERNET_PAYLOAD);
}

static __always_inline bool inner_ipv4(struct sk_buff *skb, __u32 offset, struct packet *inner,
				       struct flow_words *key)
{
	const struct iphdr *header = kernel_cast(struct iphdr, skb->data + offset);
	__u32 length = (header->version_ihl & 0xf) * 4, there = skb->len - offset;

	if (length < sizeof(*header) || !says_its_length(there, bpf_ntohs(header->tot_len)))
		return false;
	key->src[0] = 0;
	key->src[1] = KZN_MAPPED_PREFIX | (__u64)header->saddr << 32;
	key->dst[0] = 0;
	key->dst[1] = KZN_MAPPED_PREFIX | (__u64)header->daddr << 32;
	inner->protocol = header->protocol;
	inner->transport = offset + length;
	inner->ports = has_ports(inner->protocol) && !(header->frag_off & bpf_htons(IP_OFFSET));
	return true;
}

static __always_inline bool inner_ipv6(struct bpf_nf_ctx *ctx, __u32 offset, struct packet *inner,
				       struct flow_words *key)
{
	struct sk_buff *skb = ctx->skb;
	const struct ipv6hdr *header = kernel_cast(struct ipv6hdr, skb->data + offset);
	__u32 said = bpf_ntohs(header->payload_len);

	if (offset + sizeof(*header) > inner->linear ||
	    !says_its_length(skb->len - offset, said ? said + sizeof(*header) : 0))
		return false;
	key->src[0] = header->saddr[0];
	key->src[1] = header->saddr[1];
	key->dst[0] = header->daddr[0];
	key->dst[1] = header->daddr[1];
	inner->protocol = header->nexthdr;
	inner->transport = offset + sizeof(*header);
	inner->ports = has_ports(inner->protocol);
	return !is_extension(inner->protocol) || parse_extensions(ctx, inner);
}

/* Puts the key of the inner packet in the place of the outer one's; leaves that where there is
 * none. What conntrack knows is of the outer packet.
 */
static __always_inline void unwrap(struct bpf_nf_ctx *ctx, const struct packet *outer,
				   struct flow_words *key)
{
	struct sk_buff *skb = ctx->skb;
	__u32 offset = skb->inner_network_header - (__u32)(skb->data - skb->head);
	struct packet inner = {.linear = outer->linear};
	struct flow_words found;
	__u8 version;

	if (!skb->inner_network_header || offset < outer->transport ||
	    offset + sizeof(struct iphdr) > outer->linear)
		return;
	version = kernel_cast(struct iphdr, skb->data + offset)->version_ihl >> 4;
	if (version == 4) {
		if (!inner_ipv4(skb, offset, &inner, &found))
			return;
	} else if (version == 6) {
		if (!inner_ipv6(ctx, offset, &inner, &found))
			return;
	} else {
		return;
	}
	if (parse_ports(ctx, &inner, &found, 0))
		*key = found;
}

static __always_inline bool is_encrypted(struct sk_buff *skb, const struct packet *packet)
{
	const struct tcphdr *head; /* of UDP too: what lies behind its 8 bytes is called ack_seq */

	if (packet->protocol != IPPROTO_UDP)
		return packet->protocol == IPPROTO_ESP;
	if (!packet->ports ||
	    packet->transport + UDP_HEADER + sizeof(head->ack_seq) > packet->linear)
		return false;
	head = kernel_cast(struct tcphdr, skb->data + packet->transport);
	return is_encrypted_datagram(head->source, head->dest, head->ack_seq);
}

/* `wrapped` are the marks of the tunnel that the packet comes out of, 0 for none. */
__noinline int look_inside(struct bpf_nf_ctx *ctx, const struct packet *packet, __u32 wrapped,
			   struct flow_words *key)
{
	if (!packet || !key)
		return 0;
	if (wrapped & KZN_ENCRYPTS || is_encrypted(ctx->skb, packet))
		mark_encrypted(key);
	else if (wrapped)
		unwrap(ctx, packet, key);
	return 0;
}

#endif
