/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Parses a packet at a netfilter hook: its flow key, and the offsets that measure.bpf.h needs.
 *
 * Headers are read by plain loads through bpf_rdonly_cast. The kernel protects these against
 * faults, but not against reading past the packet: each is first checked against the linear part.
 * Nonlinear data is read through a dynptr slice.
 */
#ifndef KZN_NETFILTER_PARSE_BPF_H
#define KZN_NETFILTER_PARSE_BPF_H

extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym;
extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, __u32 offset, void *buffer,
			      __u32 buffer__szk) __ksym;

#define kernel_cast(type, address)                                                                 \
	((const type *)bpf_rdonly_cast((const void *)(address), bpf_core_type_id_kernel(type)))

struct packet {
	__u32 linear; /* bytes in the linear part, which plain loads may read */
	__u32 transport; /* offset of the transport header, or of a fragment's payload */
	__u32 unfragmentable; /* bytes of IP headers that each fragment repeats */
	__u32 jumbo; /* bytes of the IPv6 jumbo option, which is removed before sending */
	__u8 protocol;
	bool ports; /* the transport header has ports */
};

/* Four bytes at any offset, also in nonlinear data; false when the packet ends before them. */
__noinline bool load_nonlinear(struct bpf_nf_ctx *ctx, __u32 offset, __u32 *to)
{
	struct bpf_dynptr packet;
	__u32 buffer = 0;
	const __u32 *from;

	if (!to || bpf_dynptr_from_skb((struct __sk_buff *)ctx->skb, 0, &packet))
		return false;
	from = bpf_dynptr_slice(&packet, offset, &buffer, sizeof(buffer));
	if (!from)
		return false;
	*to = *from;
	return true;
}

/* Which end opened the connection, from conntrack: KZN_INITIATOR_*, 0 for unknown. */
static __always_inline __u8 find_initiator(const struct sk_buff *skb)
{
	unsigned long nfct, info;

	if (!bpf_core_field_exists(skb->_nfct))
		return 0;
	nfct = skb->_nfct;
	info = nfct & NFCT_INFOMASK;
	if (!(nfct & ~(unsigned long)NFCT_INFOMASK) || info == IP_CT_UNTRACKED)
		return 0;
	return info >= IP_CT_IS_REPLY ? KZN_INITIATOR_DESTINATION : KZN_INITIATOR_SOURCE;
}

static __always_inline bool parse_ports(struct bpf_nf_ctx *ctx, const struct packet *packet,
					struct flow_words *key, __u8 initiator)
{
	const struct sk_buff *skb = ctx->skb;
	const struct tcphdr *header;
	__u32 ports;

	if (settings.ports == KZN_PORTS_NONE || !packet->ports) {
		key->tail = service_word(0, packet->protocol, initiator);
		return true;
	}
	if (packet->transport + sizeof(ports) <= packet->linear) {
		header = kernel_cast(struct tcphdr, skb->data + packet->transport);
		keep_ports(key, packet->protocol, initiator, bpf_ntohs(header->source),
			   bpf_ntohs(header->dest));
		return true;
	}
	if (!load_nonlinear(ctx, packet->transport, &ports))
		return false;
	keep_ports(key, packet->protocol, initiator, bpf_ntohs(ports & 0xffff),
		   bpf_ntohs(ports >> 16));
	return true;
}

static __always_inline bool parse_ipv4(struct bpf_nf_ctx *ctx, struct packet *packet,
				       struct flow_words *key)
{
	struct sk_buff *skb = ctx->skb;
	const struct iphdr *header;
	__u32 length;

	packet->linear = skb->len - skb->data_len;
	if (packet->linear < sizeof(*header))
		return false;
	header = kernel_cast(struct iphdr, skb->data);
	length = (header->version_ihl & 0xf) * 4;
	if (length < sizeof(*header) || length > skb->len)
		return false;
	key->src[0] = 0;
	key->src[1] = KZN_MAPPED_PREFIX | (__u64)header->saddr << 32;
	key->dst[0] = 0;
	key->dst[1] = KZN_MAPPED_PREFIX | (__u64)header->daddr << 32;
	packet->protocol = header->protocol;
	packet->transport = length;
	packet->unfragmentable = length;
	packet->ports = has_ports(packet->protocol) && !(header->frag_off & bpf_htons(IP_OFFSET));
	return parse_ports(ctx, packet, key, find_initiator(skb));
}

/* Walks the extension headers. The part that each fragment repeats ends with the last hop-by-hop or
 * routing header (RFC 8200, 4.5).
 */
__noinline bool parse_extensions(struct bpf_nf_ctx *ctx, struct packet *packet)
{
	bool fragment = false;
	__u8 protocol;
	__u32 offset;
	int i;

	if (!packet)
		return false;
	protocol = packet->protocol;
	offset = packet->transport;
	for (i = 0; i < MAX_EXTENSION_HEADERS && is_extension(protocol) && !fragment; i++) {
		__u32 word, length;

		if (!load_nonlinear(ctx, offset, &word))
			return false;
		length = (((word >> 8) & 0xff) + 1) * 8;
		if (protocol == IPPROTO_AH)
			length = (((word >> 8) & 0xff) + 2) * 4;
		if (protocol == IPPROTO_FRAGMENT) {
			length = 8;
			fragment = bpf_ntohs(word >> 16) >> 3;
		}
		offset += length;
		if (protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING)
			packet->unfragmentable = offset;
		protocol = word & 0xff;
	}
	packet->protocol = protocol;
	packet->transport = offset;
	packet->ports = has_ports(protocol) && !fragment;
	return true;
}

static __always_inline bool parse_ipv6(struct bpf_nf_ctx *ctx, struct packet *packet,
				       struct flow_words *key)
{
	struct sk_buff *skb = ctx->skb;
	const struct ipv6hdr *header;

	packet->linear = skb->len - skb->data_len;
	if (packet->linear < sizeof(*header))
		return false;
	header = kernel_cast(struct ipv6hdr, skb->data);
	key->src[0] = header->saddr[0];
	key->src[1] = header->saddr[1];
	key->dst[0] = header->daddr[0];
	key->dst[1] = header->daddr[1];
	packet->protocol = header->nexthdr;
	packet->transport = sizeof(*header);
	packet->unfragmentable = sizeof(*header);
	packet->ports = has_ports(packet->protocol);
	if (is_extension(packet->protocol)) {
		/* IPv6 BIG TCP: the stack adds a jumbo option of 8 bytes and removes it again. */
		if (!header->payload_len && packet->protocol == IPPROTO_HOPOPTS)
			packet->jumbo = 8;
		if (!parse_extensions(ctx, packet))
			return false;
	}
	return parse_ports(ctx, packet, key, find_initiator(skb));
}

#endif
