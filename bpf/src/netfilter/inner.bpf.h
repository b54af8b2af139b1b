/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The inner packet of one that this node encapsulated, at the header offsets that the stack keeps
 * in sk_buff. Programs at tc, which have no access to them, parse the tunnel (tc/overlay.bpf.h).
 */
#ifndef KZN_NETFILTER_INNER_BPF_H
#define KZN_NETFILTER_INNER_BPF_H

static __always_inline bool is_ip_in_ip(__u8 protocol)
{
	return protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6;
}

static __always_inline bool may_encapsulate(__u8 protocol)
{
	return protocol == IPPROTO_UDP || protocol == IPPROTO_GRE || protocol == IPPROTO_ESP ||
	       is_ip_in_ip(protocol);
}

/* Whether the length claimed by an inner IP header is plausible, which tells it from encrypted
 * payload. BIG TCP claims 0.
 */
static __always_inline bool length_fits(__u32 actual_len, __u32 claimed_len)
{
	if (!claimed_len)
		return actual_len > 0xffff;
	return claimed_len == actual_len ||
	       (claimed_len < actual_len && actual_len <= MIN_ETHERNET_PAYLOAD);
}

static __always_inline bool parse_inner_ipv4(struct sk_buff *skb, __u32 offset,
					     struct packet *inner, struct flow_words *key)
{
	const struct iphdr *header = kernel_cast(struct iphdr, skb->data + offset);
	__u32 length = (header->version_ihl & 0xf) * 4, actual_len = skb->len - offset;

	if (length < sizeof(*header) || !length_fits(actual_len, bpf_ntohs(header->tot_len)))
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

static __always_inline bool parse_inner_ipv6(struct bpf_nf_ctx *ctx, __u32 offset,
					     struct packet *inner, struct flow_words *key)
{
	struct sk_buff *skb = ctx->skb;
	const struct ipv6hdr *header = kernel_cast(struct ipv6hdr, skb->data + offset);
	__u32 payload_len = bpf_ntohs(header->payload_len);

	if (offset + sizeof(*header) > inner->linear ||
	    !length_fits(skb->len - offset, payload_len ? payload_len + sizeof(*header) : 0))
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

/* Replaces the outer packet's key by that of the inner packet at an offset; false if there is none.
 * The initiator is unknown: conntrack's entry is of the outer packet.
 */
__noinline bool use_inner_at(struct bpf_nf_ctx *ctx, const struct packet *outer, __u32 offset,
			     struct flow_words *key)
{
	struct sk_buff *skb = ctx->skb;
	struct flow_words inner_key;
	struct packet inner = {};
	__u8 version;

	if (!outer || !key)
		return false;
	inner.linear = outer->linear;
	if (offset < outer->transport || offset + sizeof(struct iphdr) > outer->linear)
		return false;
	version = kernel_cast(struct iphdr, skb->data + offset)->version_ihl >> 4;
	if (version == 4) {
		if (!parse_inner_ipv4(skb, offset, &inner, &inner_key))
			return false;
	} else if (version == 6) {
		if (!parse_inner_ipv6(ctx, offset, &inner, &inner_key))
			return false;
	} else {
		return false;
	}
	if (!parse_ports(ctx, &inner, &inner_key, 0))
		return false;
	use_inner(key, &inner_key);
	return true;
}

/* The offset of the IP packet that the tunnel device was given, outside the linear part for none.
 * Each device that sends sets mac_header to what it is given, and encapsulation only prepends. Not
 * so inner_network_header: of a tunnel in a tunnel that of the innermost packet is kept.
 */
static __always_inline __u32 given_offset(const struct sk_buff *skb,
					  const struct net_device *tunnel)
{
	__u32 offset = skb->mac_header - (__u32)(skb->data - skb->head);

	return tunnel->type == ARPHRD_ETHER ? offset + ETHERNET_HEADER : offset;
}

static __always_inline bool is_encrypted(struct sk_buff *skb, const struct packet *packet)
{
	const struct tcphdr *head; /* also of UDP, where ack_seq is the first word of payload */

	if (packet->protocol != IPPROTO_UDP)
		return packet->protocol == IPPROTO_ESP;
	if (!packet->ports ||
	    packet->transport + UDP_HEADER + sizeof(head->ack_seq) > packet->linear)
		return false;
	head = kernel_cast(struct tcphdr, skb->data + packet->transport);
	return is_encrypted_datagram(head->source, head->dest, head->ack_seq);
}

/* Charges a packet that this node encapsulated to its inner addresses, or marks its key: as
 * encrypted, or as come in by a tunnel. `reason` is what classify_direction() returned.
 *
 * Without a device the node encapsulates by routes (SRv6, or IPv6 and IPv4 in IPv6): the packet is
 * from an address of the node, which only the node itself has before source NAT.
 */
__noinline int key_by_tunnel(struct bpf_nf_ctx *ctx, const struct packet *packet, enum total reason,
			     struct flow_words *key)
{
	struct sk_buff *skb = ctx->skb;
	__u32 role;

	if (!packet || !key)
		return 0;
	role = input_role(ctx->state);
	if (is_encrypted(skb, packet) || (role & KZN_DEVICE_ENCRYPTS && is_from_node(key))) {
		mark(key, KZN_ENCRYPTED);
	} else if (!(role & KZN_DEVICE_TUNNEL)) {
		if (role & KZN_DEVICE_STAYS && is_ip_in_ip(packet->protocol) && is_from_node(key))
			use_inner_at(ctx, packet, packet->transport, key);
	} else if (!use_inner_at(ctx, packet, given_offset(skb, ctx->state->in), key) &&
		   !is_from_node(key)) {
		mark(key, reason == TOTAL_SEEN ? KZN_RELAYED : KZN_DELIVERED);
	}
	return 0;
}

#endif
