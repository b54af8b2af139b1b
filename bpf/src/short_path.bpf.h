/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the short paths of all hooks (netfilter/plain.bpf.h, tc/plain.bpf.h) share: which headers
 * are plain, and the flows that a packet may belong to.
 */
#ifndef KZN_SHORT_PATH_BPF_H
#define KZN_SHORT_PATH_BPF_H

#define IPV4_HEADER sizeof(struct iphdr)
#define IPV6_HEADER sizeof(struct ipv6hdr)
#define IPV4_PLAIN 0xff3f0000000000ffull /* of the first word: version, length, MF and offset */
#define IPV4_WITHOUT_OPTIONS 0x45
#define ONE_PACKET (1ull << KZN_PACKED_BYTES)

/* What is read of a plain packet besides its addresses. */
struct plain {
	__u32 ports; /* as in the packet: source in the low half */
	__u8 protocol;
};

/* `plain` from the first three words of an IPv4 header; false with options, and for a fragment. */
static __always_inline bool take_ipv4(__u64 first, __u64 second, __u64 third, struct plain *plain)
{
	plain->protocol = second >> 8;
	plain->ports = third >> 32;
	return likely((first & IPV4_PLAIN) == IPV4_WITHOUT_OPTIONS);
}

/* Both addresses of an IPv4 header, as a row has them. */
static __always_inline __u64 ipv4_addresses(__u64 second, __u64 third)
{
	return second >> 32 | third << 32;
}

/* Whether the service of a packet, of which nothing tells the initiator, is at its source: the port
 * there is the lower one.
 */
static __always_inline bool is_from_lower_port(const struct plain *plain)
{
	return (__u16)bpf_ntohs(plain->ports & 0xffff) < (__u16)bpf_ntohs(plain->ports >> 16);
}

/* As awaits_initiator(). */
static __always_inline bool awaits(const struct plain *plain, __u8 initiator)
{
	return settings.ports != KZN_PORTS_NONE && plain->protocol == IPPROTO_TCP && !initiator;
}

/* The tail of a flow of the packet, as rows have it: by the side that the service is at. */
static __always_inline __u64 plain_tail(__u32 ports, __u8 protocol, bool of_source, __u8 initiator)
{
	__u64 tail = service_word(0, protocol, initiator | (of_source ? KZN_PORT_OF_SOURCE : 0));

	tail |= bpf_ntohs(of_source ? ports & 0xffff : ports >> 16);
	if (settings.ports == KZN_PORTS_ALL) {
		asm volatile(""); /* or the compiler swaps the peer's port in any case */
		tail |= (__u64)bpf_ntohs(of_source ? ports >> 16 : ports & 0xffff) << 32;
	}
	return tail;
}

/* The tail of the flow to look for first; `initiator` from conntrack, 0 for unknown. Then it is
 * that of the presumed one: the full path has decided on the first packet in this buffer. Written
 * out by protocol and side, since the compiler makes chains of conditions of anything shorter.
 */
static __always_inline __u64 first_tail(const struct plain *plain, __u8 initiator)
{
	bool tcp = plain->protocol == IPPROTO_TCP;
	__u32 ports = plain->ports;

	if (settings.ports == KZN_PORTS_NONE)
		return service_word(0, plain->protocol, initiator);
	if (initiator == KZN_INITIATOR_SOURCE)
		return plain_tail(ports, plain->protocol, false, KZN_INITIATOR_SOURCE);
	if (initiator)
		return plain_tail(ports, plain->protocol, true, KZN_INITIATOR_DESTINATION);
	if (is_from_lower_port(plain))
		return plain_tail(ports, plain->protocol, true,
				  tcp ? KZN_INITIATOR_DESTINATION : 0);
	return plain_tail(ports, plain->protocol, false, tcp ? KZN_INITIATOR_SOURCE : 0);
}

/* Sets the identity of a packet's flow with a tail. The addresses are set. */
static __always_inline void identify_plain(struct wanted_row *row, bool ipv4, __u64 tail)
{
	row->cpu = get_cpu(ipv4);
	begin_hash(row, ipv4);
	identify(row, tail);
}

/* Adds a packet to its flow of a tail, if there is one. `row` becomes that flow's. */
static __always_inline bool add_to_flow_of(struct wanted_row *row, __u64 tail, bool ipv4,
					   __u32 active, const struct flow_counts *counts)
{
	identify_plain(row, ipv4, tail);
	return add_to_existing(row, counts, active);
}

/* Adds a packet, whose initiator is awaited, to its flow of the other initiator than the presumed
 * one, or of none. The full path has to see each packet of a handshake. `input` is input_word().
 */
static __always_inline bool add_to_others(const struct plain *plain, struct wanted_row *row,
					  __u64 input, bool ipv4, __u32 active,
					  const struct flow_counts *counts)
{
	bool of_source = is_from_lower_port(plain);
	__u8 other = of_source ? KZN_INITIATOR_SOURCE : KZN_INITIATOR_DESTINATION;
	__u64 tail = plain_tail(plain->ports, IPPROTO_TCP, !of_source, other) | input;

	if (add_to_flow_of(row, tail, ipv4, active, counts))
		return true;
	tail = plain_tail(plain->ports, IPPROTO_TCP, of_source, 0) | input;
	return add_to_flow_of(row, tail, ipv4, active, counts);
}

/* The addresses and ports of a packet, for a lookup of endpoints. */
static __always_inline void read_plain_ends(const struct plain *plain, const struct wanted_row *row,
					    struct ends *ends)
{
	__u64 protocol = service_word(0, plain->protocol, 0);
	struct flow_words key;

	to_key(row, &key);
	ends->source.address[0] = key.src[0];
	ends->source.address[1] = key.src[1];
	ends->source.port = protocol | bpf_ntohs(plain->ports & 0xffff);
	ends->destination.address[0] = key.dst[0];
	ends->destination.address[1] = key.dst[1];
	ends->destination.port = protocol | bpf_ntohs(plain->ports >> 16);
}

#endif
