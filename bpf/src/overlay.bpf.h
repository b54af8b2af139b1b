/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Packets inside packets: VXLAN, Geneve, GRE and IP in IP are charged to the inner addresses,
 * WireGuard and ESP to the outer ones, with a mark.
 *
 * What is inside is known by the ports and protocols of tunnels, and believed only if the inner IP
 * header says the length that is there; encrypted contents do not.
 */
#ifndef KZN_OVERLAY_BPF_H
#define KZN_OVERLAY_BPF_H

#define PORT_VXLAN 4789 /* RFC 7348 */
#define PORT_VXLAN_LINUX 8472 /* what Linux, Flannel and Cilium take for VXLAN */
#define PORT_GENEVE 6081 /* RFC 8926 */
#define VXLAN_HEADER 8
#define VXLAN_HAS_ID 0x08
#define GENEVE_HEADER 8
#define GENEVE_OPTIONS 0x3f /* length of the options in words */
#define GRE_HEADER 4
#define GRE_CHECKSUM 0x80
#define GRE_KEY 0x20
#define GRE_SEQUENCE 0x10
#define GRE_WORD 4
#define MIN_ETHERNET_PAYLOAD 46 /* shorter frames are filled up */

struct tunnel_header {
	__u8 flags; /* VXLAN, GRE; of Geneve version and length of options */
	__u8 more;
	__be16 protocol; /* Geneve, GRE */
};

struct datagram {
	struct ports ports;
	__be16 length;
	__sum16 check;
	union {
		struct tunnel_header tunnel;
		__u32 word;
	};
};

/* Offset and protocol of what is in a tunnel's Ethernet frame. */
static __always_inline __u16 ethernet_inside(struct __sk_buff *ctx, __u32 *offset)
{
	__be16 protocol;

	if (bpf_skb_load_bytes(ctx, *offset + ETHERNET_HEADER - 2, &protocol, sizeof(protocol)))
		return 0;
	*offset += ETHERNET_HEADER;
	return bpf_ntohs(protocol);
}

static __always_inline __u16 behind(struct __sk_buff *ctx, __u16 protocol, __u32 *offset)
{
	return protocol == ETH_P_TEB ? ethernet_inside(ctx, offset) : protocol;
}

static __always_inline __u16 inside_udp(struct __sk_buff *ctx, __u32 *offset,
					struct flow_words *key)
{
	struct datagram head;
	__u16 port;

	if (bpf_skb_load_bytes(ctx, *offset, &head, sizeof(head)))
		return 0;
	port = bpf_ntohs(head.ports.dest);
	*offset += UDP_HEADER;
	if (port == PORT_GENEVE) {
		*offset += GENEVE_HEADER + (head.tunnel.flags & GENEVE_OPTIONS) * 4;
		return behind(ctx, bpf_ntohs(head.tunnel.protocol), offset);
	}
	if (port != PORT_VXLAN && port != PORT_VXLAN_LINUX) {
		if (is_encrypted_datagram(head.ports.source, head.ports.dest, head.word))
			mark_encrypted(key);
		return 0;
	}
	if (!(head.tunnel.flags & VXLAN_HAS_ID))
		return 0;
	*offset += VXLAN_HEADER;
	return ethernet_inside(ctx, offset);
}

static __always_inline __u16 inside_gre(struct __sk_buff *ctx, __u32 *offset)
{
	struct tunnel_header header;

	if (bpf_skb_load_bytes(ctx, *offset, &header, sizeof(header)))
		return 0;
	*offset += GRE_HEADER;
	if (header.flags & GRE_CHECKSUM)
		*offset += GRE_WORD;
	if (header.flags & GRE_KEY)
		*offset += GRE_WORD;
	if (header.flags & GRE_SEQUENCE)
		*offset += GRE_WORD;
	return behind(ctx, bpf_ntohs(header.protocol), offset);
}

/* Whether an IP header at an offset says the length of what is there; 0 is what BIG TCP says. */
static __always_inline bool says_its_length(struct __sk_buff *ctx, __u16 protocol, __u32 offset)
{
	__u32 there = ctx->len - offset, said;
	struct {
		__u8 version;
		__u8 tos;
		__be16 tot_len;
		__be16 payload_len;
	} head;

	if (offset > ctx->len || bpf_skb_load_bytes(ctx, offset, &head, sizeof(head)))
		return false;
	if (head.version >> 4 != (protocol == ETH_P_IP ? 4 : 6))
		return false;
	said = bpf_ntohs(head.tot_len);
	if (protocol == ETH_P_IPV6 && head.payload_len)
		said = sizeof(struct ipv6hdr) + bpf_ntohs(head.payload_len);
	else if (protocol == ETH_P_IPV6)
		said = 0;
	return said == there || (!said && ctx->gso_size) ||
	       (said < there && there <= MIN_ETHERNET_PAYLOAD);
}

/* Puts the inner packet in the place of `packet`, and its key in that of `key`; when there is none
 * nothing happens to them, but for the mark of what is encrypted. What carries more than one tunnel
 * is charged to the first inside.
 */
static __noinline bool unwrap(struct __sk_buff *ctx, struct packet *packet, struct flow_words *key)
{
	__u32 network = packet->transport;
	struct flow_words inner_key;
	struct packet inner = {};
	__u16 protocol = 0;

	if (packet->protocol == IPPROTO_UDP)
		protocol = inside_udp(ctx, &network, key);
	else if (packet->protocol == IPPROTO_ESP)
		mark_encrypted(key);
	else if (packet->protocol == IPPROTO_IPIP)
		protocol = ETH_P_IP;
	else if (packet->protocol == IPPROTO_IPV6)
		protocol = ETH_P_IPV6;
	else if (packet->protocol == IPPROTO_GRE)
		protocol = inside_gre(ctx, &network);
	if (protocol != ETH_P_IP && protocol != ETH_P_IPV6)
		return false;
	inner.network = network;
	if (!says_its_length(ctx, protocol, network) || !parse(ctx, protocol, &inner, &inner_key))
		return false;
	*packet = inner;
	*key = inner_key;
	return true;
}

/* Whether a packet may carry another one: of datagrams no fragment but the first can be told. */
static __always_inline bool may_wrap(const struct packet *packet)
{
	if (packet->protocol == IPPROTO_UDP)
		return packet->ports;
	return packet->protocol == IPPROTO_IPIP || packet->protocol == IPPROTO_IPV6 ||
	       packet->protocol == IPPROTO_GRE || packet->protocol == IPPROTO_ESP;
}

#endif
