/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Protocol knowledge shared by all hooks: header sizes, encrypted datagrams, ports of a key. */
#ifndef KZN_PROTOCOLS_BPF_H
#define KZN_PROTOCOLS_BPF_H

#define MAX_EXTENSION_HEADERS 8
#define ETHERNET_HEADER 14
#define UDP_HEADER 8
#define SCTP_HEADER 12
#define TCP_DOFF_OFFSET 12
#define PORT_ESP_IN_UDP 4500
#define GSO_BY_FRAGS 0xffff /* SCTP: gso_segs segments, one for each skb of the frag list */
#define MIN_ETHERNET_PAYLOAD 46 /* shorter frames are padded */

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_UDPLITE || protocol == IPPROTO_DCCP;
}

/* WireGuard's default port, Flannel's for IPv6, and Cilium's. */
static __always_inline bool is_wireguard_port(__u16 port)
{
	return port == 51820 || port == 51821 || port == 51871;
}

/* Whether a UDP datagram may be WireGuard or ESP in UDP, by its ports. */
static __always_inline bool may_be_encrypted(__u16 source, __u16 dest)
{
	return is_wireguard_port(source) || is_wireguard_port(dest) || source == PORT_ESP_IN_UDP ||
	       dest == PORT_ESP_IN_UDP;
}

/* Whether a UDP datagram is WireGuard or ESP in UDP, by its ports and the first word of its
 * payload, both in network order. WireGuard begins with a type from 1 to 4 and three zero bytes.
 * ESP begins with an SPI other than 0; key exchange on the same port begins with 0 (RFC 3948).
 */
static __always_inline bool is_encrypted_datagram(__be16 source, __be16 dest, __u32 word)
{
	__u16 from = bpf_ntohs(source), to = bpf_ntohs(dest);

	if (is_wireguard_port(to) || is_wireguard_port(from))
		return word >= 1 && word <= 4; /* read little-endian */
	return (to == PORT_ESP_IN_UDP || from == PORT_ESP_IN_UDP) && word;
}

static __always_inline bool is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_FRAGMENT || protocol == IPPROTO_AH ||
	       protocol == IPPROTO_DSTOPTS;
}

/* Fills in key->tail; `initiator` is KZN_INITIATOR_* or 0. If the initiator is unknown, the lower
 * port is taken for the service's: clients connect from the ephemeral range, which lies above the
 * ports that servers listen on. account() drops the other port unless --ports keeps it.
 */
static __always_inline void keep_ports(struct flow_words *key, __u8 protocol, __u8 initiator,
				       __u16 source, __u16 dest)
{
	__u16 peer;

	if (initiator == KZN_INITIATOR_SOURCE || (!initiator && dest <= source)) {
		key->tail = service_word(dest, protocol, initiator);
		peer = source;
	} else {
		key->tail = service_word(source, protocol, initiator | KZN_PORT_OF_SOURCE);
		peer = dest;
	}
	key->tail |= (__u64)peer << 32;
}

#endif
