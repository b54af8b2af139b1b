/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What all hooks know of protocols: their headers, and which ports a key keeps. */
#ifndef KZN_PROTOCOLS_BPF_H
#define KZN_PROTOCOLS_BPF_H

#define MAX_EXTENSION_HEADERS 8
#define UDP_HEADER 8
#define SCTP_HEADER 12
#define TCP_DOFF_OFFSET 12
#define GSO_BY_FRAGS 0xffff /* SCTP: one part per fragment, counted in gso_segs */

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_UDPLITE || protocol == IPPROTO_DCCP;
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
		key->service = service_word(dest, protocol, opened);
		key->peer = source;
	} else {
		key->service = service_word(source, protocol, opened | KZN_PORT_OF_SOURCE);
		key->peer = dest;
	}
}

#endif
