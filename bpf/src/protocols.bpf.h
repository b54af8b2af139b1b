/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What all hooks know of protocols: their headers, and which ports a key keeps. */
#ifndef KZN_PROTOCOLS_BPF_H
#define KZN_PROTOCOLS_BPF_H

#define MAX_EXTENSION_HEADERS 8
#define UDP_HEADER 8
#define SCTP_HEADER 12
#define TCP_DOFF_OFFSET 12
#define PORT_ESP_IN_UDP 4500
#define GSO_BY_FRAGS 0xffff /* SCTP: one part per fragment, counted in gso_segs */

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_UDPLITE || protocol == IPPROTO_DCCP;
}

/* The ports that WireGuard has by default, with Flannel for IPv6, and with Cilium. */
static __always_inline bool is_port_of_wireguard(__u16 port)
{
	return port == 51820 || port == 51821 || port == 51871;
}

/* Whether a datagram is WireGuard's or carries ESP, by its ports and the first word behind them,
 * both as the wire has them. WireGuard's begin with a type from 1 to 4 and three bytes of zero;
 * ESP's with a number that is not 0, which key exchange on that port begins with (RFC 3948).
 */
static __always_inline bool is_encrypted_datagram(__be16 source, __be16 dest, __u32 word)
{
	__u16 from = bpf_ntohs(source), to = bpf_ntohs(dest);

	if (is_port_of_wireguard(to) || is_port_of_wireguard(from))
		return word >= 1 && word <= 4; /* read little-endian */
	return (to == PORT_ESP_IN_UDP || from == PORT_ESP_IN_UDP) && word;
}

static __always_inline bool is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_FRAGMENT || protocol == IPPROTO_AH ||
	       protocol == IPPROTO_DSTOPTS;
}

/* The end of a key, with the ports that --ports keeps. Without conntrack the lower one is taken for
 * the service's: clients connect from the ephemeral range, which lies above the ports that are
 * listened on.
 */
static __always_inline void keep_ports(struct flow_words *key, __u8 protocol, __u8 opened,
				       __u16 source, __u16 dest)
{
	if (opened == KZN_INITIATOR_SOURCE || (!opened && dest <= source)) {
		key->ends = service_word(dest, protocol, opened) | (__u64)source << 32;
	} else {
		key->ends = service_word(source, protocol, opened | KZN_PORT_OF_SOURCE) |
			    (__u64)dest << 32;
	}
}

#endif
