/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tunnels at tc egress: VXLAN, Geneve, GRE and IP in IP are charged to the inner addresses,
 * WireGuard and ESP to the outer ones with KZN_ENCRYPTED.
 *
 * Tunnels are recognised by port and protocol. An inner IP header is accepted only if its length
 * field fits the packet, which encrypted payload does not.
 */
#ifndef KZN_TC_OVERLAY_BPF_H
#define KZN_TC_OVERLAY_BPF_H

#define VXLAN_HEADER 8
#define VXLAN_HAS_ID 0x08
#define GENEVE_HEADER 8
#define GENEVE_OPTIONS 0x3f /* length of the options in 4-byte words */
#define GRE_HEADER 4
#define GRE_CHECKSUM 0x80
#define GRE_KEY 0x20
#define GRE_SEQUENCE 0x10
#define GRE_WORD 4

struct tunnel_header {
	__u8 flags; /* VXLAN, GRE; Geneve: version and length of the options */
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

/* The functions below advance `offset` to the inner packet and return its EtherType, 0 for none. */
static __always_inline __u16 inner_of_ethernet(struct __sk_buff *ctx, __u32 *offset)
{
	__be16 protocol;

	if (bpf_skb_load_bytes(ctx, *offset + ETHERNET_HEADER - 2, &protocol, sizeof(protocol)))
		return 0;
	*offset += ETHERNET_HEADER;
	return bpf_ntohs(protocol);
}

static __always_inline __u16 inner_of(struct __sk_buff *ctx, __u16 protocol, __u32 *offset)
{
	return protocol == ETH_P_TEB ? inner_of_ethernet(ctx, offset) : protocol;
}

static __always_inline __u16 inner_of_udp(struct __sk_buff *ctx, __u32 *offset,
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
		return inner_of(ctx, bpf_ntohs(head.tunnel.protocol), offset);
	}
	if (!is_tunnel_port(port)) {
		if (is_encrypted_datagram(head.ports.source, head.ports.dest, head.word))
			mark(key, KZN_ENCRYPTED);
		return 0;
	}
	if (!(head.tunnel.flags & VXLAN_HAS_ID))
		return 0;
	*offset += VXLAN_HEADER;
	return inner_of_ethernet(ctx, offset);
}

static __always_inline __u16 inner_of_gre(struct __sk_buff *ctx, __u32 *offset)
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
	return inner_of(ctx, bpf_ntohs(header.protocol), offset);
}

/* Whether the length claimed by the IP header at an offset fits the packet. BIG TCP claims 0. */
static __always_inline bool length_fits(struct __sk_buff *ctx, __u16 protocol, __u32 offset)
{
	__u32 actual_len = ctx->len - offset, claimed_len;
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
	claimed_len = bpf_ntohs(head.tot_len);
	if (protocol == ETH_P_IPV6 && head.payload_len)
		claimed_len = sizeof(struct ipv6hdr) + bpf_ntohs(head.payload_len);
	else if (protocol == ETH_P_IPV6)
		claimed_len = 0;
	return claimed_len == actual_len || (!claimed_len && ctx->gso_size) ||
	       (claimed_len < actual_len && actual_len <= MIN_ETHERNET_PAYLOAD);
}

/* Whether this node encapsulated the packet: the source is an address of the node, no socket sent
 * it, and it did not come in by a device. By source NAT a pod's datagram may have such a source
 * too. Encapsulation clears the input device in IPv4 (skb_scrub_packet), not in IPv6.
 */
static __always_inline bool is_own_tunnel(struct __sk_buff *ctx, const struct packet *outer,
					  const struct flow_words *key)
{
	struct bpf_sock *sk;
	__be16 source;

	if ((!key->src[0] && ctx->ingress_ifindex) || !is_from_node(key))
		return false;
	if (outer->protocol != IPPROTO_UDP)
		return true;
	sk = ctx->sk;
	return !sk || bpf_skb_load_bytes(ctx, outer->transport, &source, sizeof(source)) ||
	       sk->src_port != bpf_ntohs(source);
}

/* Replaces `packet` by the inner one, which tells the headers of segments, and `key` by its key if
 * the tunnel is this node's: then it returns true. Without an inner packet both are kept, and the
 * key of an encrypted packet is marked. Of nested tunnels only the outermost is removed.
 */
__noinline bool key_by_inner(struct __sk_buff *ctx, struct packet *packet, struct flow_words *key)
{
	struct flow_words inner_key = {};
	struct packet inner = {};
	__u16 protocol = 0;
	__u32 network;
	bool is_own;

	if (!packet || !key)
		return false;
	network = packet->transport;
	if (packet->protocol == IPPROTO_UDP)
		protocol = inner_of_udp(ctx, &network, key);
	else if (packet->protocol == IPPROTO_ESP)
		mark(key, KZN_ENCRYPTED);
	else if (packet->protocol == IPPROTO_IPIP)
		protocol = ETH_P_IP;
	else if (packet->protocol == IPPROTO_IPV6)
		protocol = ETH_P_IPV6;
	else if (packet->protocol == IPPROTO_GRE)
		protocol = inner_of_gre(ctx, &network);
	if (protocol != ETH_P_IP && protocol != ETH_P_IPV6)
		return false;
	inner.network = network;
	if (!length_fits(ctx, protocol, network) || !parse(ctx, protocol, &inner, &inner_key))
		return false;
	is_own = is_own_tunnel(ctx, packet, key);
	if (is_own)
		use_inner(key, &inner_key);
	*packet = inner;
	return is_own;
}

/* Marks a packet that came in by a tunnel device of this node, and leaves as it is. */
static __noinline void mark_relayed(struct __sk_buff *ctx, struct flow_words *key)
{
	if (device_role(ctx->ingress_ifindex) & KZN_DEVICE_TUNNEL)
		mark(key, KZN_RELAYED);
}

/* Whether a packet may carry another one; for UDP known from the first fragment only. */
static __always_inline bool may_encapsulate(const struct packet *packet)
{
	if (packet->protocol == IPPROTO_UDP)
		return packet->ports;
	return packet->protocol == IPPROTO_IPIP || packet->protocol == IPPROTO_IPV6 ||
	       packet->protocol == IPPROTO_GRE || packet->protocol == IPPROTO_ESP;
}

#endif
