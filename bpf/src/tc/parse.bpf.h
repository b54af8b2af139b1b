/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Parses a packet at tc egress (tcx and clsact): its flow key, and the offsets that measure.bpf.h
 * needs. Offsets count from the Ethernet header.
 *
 * Uses only helpers and context fields of Linux 5.8: no kfuncs, no reads of kernel memory.
 */
#ifndef KZN_TC_PARSE_BPF_H
#define KZN_TC_PARSE_BPF_H

#define VLAN_TAG 4
#define PORT_VXLAN 4789 /* RFC 7348 */
#define PORT_VXLAN_LINUX 8472 /* the VXLAN default of Linux, Flannel and Cilium */
#define PORT_GENEVE 6081 /* RFC 8926 */
#define MAX_VLAN_TAGS 2
#define PPPOE_HEADER 6 /* RFC 2516; a PPP protocol follows */
#define PPP_IP 0x0021
#define PPP_IPV6 0x0057
#define MPLS_LABEL 4 /* RFC 3032 */
#define MPLS_BOTTOM 0x01 /* of its third byte: the last label */
#define MAX_MPLS_LABELS 8

/* In 64-bit words for Linux 6.1, as flow_words (maps.bpf.h). */
struct packet {
	__u64 network; /* offset of the IP header */
	__u64 transport; /* offset of the transport header, or of a fragment's payload */
	__u64 jumbo; /* bytes of the IPv6 jumbo option, which is removed before sending */
	__u64 protocol;
	__u64 ports; /* the transport header has ports */
};

struct ports {
	__be16 source;
	__be16 dest;
};

/* Read at once, enough for nearly every packet: the shortest transport header is 8 bytes. */
struct head4 {
	struct iphdr ip;
	struct ports ports;
	__u32 rest;
};

struct head6 {
	struct ipv6hdr ip;
	struct ports ports;
	__u32 rest;
};

static __always_inline bool is_tunnel_port(__u16 port)
{
	return port == PORT_VXLAN || port == PORT_VXLAN_LINUX || port == PORT_GENEVE;
}

/* Advances `network` over VLAN tags that are in the packet data, MPLS labels and a PPPoE header to
 * the IP packet. Returns its EtherType, or what else follows; 0 on error.
 */
static __noinline __u16 skip_to_ip(struct __sk_buff *ctx, __u32 *network)
{
	__u16 protocol = bpf_ntohs(ctx->protocol);
	__be16 next;
	int i;

#pragma clang loop unroll(full)
	for (i = 0; i < MAX_VLAN_TAGS; i++) {
		if (protocol != ETH_P_8021Q && protocol != ETH_P_8021AD)
			break;
		if (bpf_skb_load_bytes(ctx, *network + 2, &next, sizeof(next)))
			return 0;
		protocol = bpf_ntohs(next);
		*network += VLAN_TAG;
	}
	if (protocol == ETH_P_PPP_SES) {
		if (bpf_skb_load_bytes(ctx, *network + PPPOE_HEADER, &next, sizeof(next)))
			return 0;
		*network += PPPOE_HEADER + sizeof(next);
		if (next == bpf_htons(PPP_IP))
			return ETH_P_IP;
		return next == bpf_htons(PPP_IPV6) ? ETH_P_IPV6 : 0;
	}
	if (protocol != ETH_P_MPLS_UC && protocol != ETH_P_MPLS_MC)
		return protocol;
#pragma clang loop unroll(full)
	for (i = 0; i < MAX_MPLS_LABELS; i++) {
		__u8 third, version;

		if (bpf_skb_load_bytes(ctx, *network + 2, &third, sizeof(third)) ||
		    bpf_skb_load_bytes(ctx, *network + MPLS_LABEL, &version, sizeof(version)))
			return 0;
		*network += MPLS_LABEL;
		if (!(third & MPLS_BOTTOM))
			continue;
		if (version >> 4 == 4)
			return ETH_P_IP;
		return version >> 4 == 6 ? ETH_P_IPV6 : protocol;
	}
	return protocol;
}

/* Fills in key->tail. The initiator is unknown: where this hook is needed, packets bypass the
 * host's conntrack.
 */
static __always_inline bool parse_ports(struct __sk_buff *ctx, const struct packet *packet,
					struct ports ports, bool loaded, struct flow_words *key)
{
	if (settings.ports == KZN_PORTS_NONE || !packet->ports) {
		key->tail = service_word(0, packet->protocol, 0);
		return true;
	}
	if (!loaded && bpf_skb_load_bytes(ctx, packet->transport, &ports, sizeof(ports)))
		return false;
	keep_ports(key, packet->protocol, 0, bpf_ntohs(ports.source), bpf_ntohs(ports.dest));
	return true;
}

static __always_inline bool parse_ipv4(struct __sk_buff *ctx, struct packet *packet,
				       struct flow_words *key)
{
	struct head4 head = {};
	bool loaded_all = !bpf_skb_load_bytes(ctx, packet->network, &head, sizeof(head));
	__u32 length;

	if (!loaded_all && bpf_skb_load_bytes(ctx, packet->network, &head.ip, sizeof(head.ip)))
		return false;
	length = (head.ip.version_ihl & 0xf) * 4;
	if (length < sizeof(head.ip) || packet->network + length > ctx->len)
		return false;
	key->src[0] = 0;
	key->src[1] = KZN_MAPPED_PREFIX | (__u64)head.ip.saddr << 32;
	key->dst[0] = 0;
	key->dst[1] = KZN_MAPPED_PREFIX | (__u64)head.ip.daddr << 32;
	packet->protocol = head.ip.protocol;
	packet->transport = packet->network + length;
	packet->ports = has_ports(packet->protocol) && !(head.ip.frag_off & bpf_htons(IP_OFFSET));
	return parse_ports(ctx, packet, head.ports, loaded_all && length == sizeof(head.ip), key);
}

static __noinline bool parse_extensions(struct __sk_buff *ctx, struct packet *packet)
{
	__u8 protocol = packet->protocol;
	__u32 offset = packet->transport;
	bool fragment = false;
	int i;

	/* Linux 6.1 refuses a loop with its counter on the stack as infinite. */
#pragma clang loop unroll(full)
	for (i = 0; i < MAX_EXTENSION_HEADERS && is_extension(protocol) && !fragment; i++) {
		struct ipv6_opt_hdr header;
		__u32 length;

		if (bpf_skb_load_bytes(ctx, offset, &header, sizeof(header)))
			return false;
		length = (header.hdrlen + 1) * 8;
		if (protocol == IPPROTO_AH)
			length = (header.hdrlen + 2) * 4;
		if (protocol == IPPROTO_FRAGMENT) {
			length = 8;
			fragment = bpf_ntohs(header.frag_off) >> 3;
		}
		offset += length;
		protocol = header.nexthdr;
	}
	packet->protocol = protocol;
	packet->transport = offset;
	packet->ports = has_ports(protocol) && !fragment;
	return true;
}

static __always_inline bool parse_ipv6(struct __sk_buff *ctx, struct packet *packet,
				       struct flow_words *key)
{
	struct head6 head = {};
	bool loaded_all = !bpf_skb_load_bytes(ctx, packet->network, &head, sizeof(head));

	if (!loaded_all && bpf_skb_load_bytes(ctx, packet->network, &head.ip, sizeof(head.ip)))
		return false;
	key->src[0] = head.ip.saddr[0];
	key->src[1] = head.ip.saddr[1];
	key->dst[0] = head.ip.daddr[0];
	key->dst[1] = head.ip.daddr[1];
	packet->protocol = head.ip.nexthdr;
	packet->transport = packet->network + sizeof(head.ip);
	packet->ports = has_ports(packet->protocol);
	if (is_extension(packet->protocol)) {
		loaded_all = false;
		/* IPv6 BIG TCP: the stack adds a jumbo option of 8 bytes and removes it again. */
		if (!head.ip.payload_len && packet->protocol == IPPROTO_HOPOPTS)
			packet->jumbo = 8;
		if (!parse_extensions(ctx, packet))
			return false;
	}
	return parse_ports(ctx, packet, head.ports, loaded_all, key);
}

/* A global function: the verifier follows it once, and nothing of what comes after once for each
 * way through it. Values of `packet` and `key` are unknown to the verifier from here on.
 */
__noinline bool parse(struct __sk_buff *ctx, __u16 protocol, struct packet *packet,
		      struct flow_words *key)
{
	if (!packet || !key)
		return false;
	if (protocol == ETH_P_IP)
		return parse_ipv4(ctx, packet, key);
	return parse_ipv6(ctx, packet, key);
}

#endif
