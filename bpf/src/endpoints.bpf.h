/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which end of a connection is the service, for packets without a conntrack entry.
 *
 * A handshake tells: the destination of a SYN and the source of a SYN+ACK are endpoints of
 * services. They are remembered by address, protocol and port, so that they also decide for the
 * other packets of these connections, and of connections that are older than the program.
 */
#ifndef KZN_ENDPOINTS_BPF_H
#define KZN_ENDPOINTS_BPF_H

/* New endpoints that packets of one source address may add in a window of 2^36 ns (69 s), so that
 * one sender of SYNs to random ports does not evict all others.
 */
#define NEW_ENDPOINTS 2048
#define WINDOW_SHIFT 36
#define MAX_LEARNERS 4096

#define KZN_INITIATORS (KZN_INITIATOR_SOURCE | KZN_INITIATOR_DESTINATION)

struct learner {
	__u32 window;
	__u32 added;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_LEARNERS);
	__type(key, struct node_address);
	__type(value, struct learner);
} learners SEC(".maps");

struct ends {
	struct endpoint source;
	struct endpoint destination;
};

/* Bytes 12 and 13 of a TCP header, or of an SCTP header with its first chunk. */
struct handshake_bytes {
	__u8 chunk; /* SCTP: its type */
	__u8 flags; /* TCP */
};

/* The initiator by a packet of a handshake, 0 for any other packet. */
static __always_inline __u8 initiator_by_handshake(__u8 protocol,
						   const struct handshake_bytes *bytes)
{
	__u8 flags = bytes->flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK);
	bool sctp = protocol == IPPROTO_SCTP;

	if (sctp ? bytes->chunk == SCTP_INIT : flags == TCP_SYN)
		return KZN_INITIATOR_SOURCE;
	if (sctp ? bytes->chunk == SCTP_INIT_ACK : flags == (TCP_SYN | TCP_ACK))
		return KZN_INITIATOR_DESTINATION;
	return 0;
}

/* Whether keep_ports() took the lower port for the service's, and endpoints may say otherwise. */
static __always_inline bool awaits_initiator(const struct flow_words *key)
{
	__u8 protocol = key->tail >> 16;

	if (settings.ports == KZN_PORTS_NONE || key->tail & service_word(0, 0, KZN_INITIATORS))
		return false;
	return (protocol == IPPROTO_TCP || protocol == IPPROTO_SCTP) && key->tail & KZN_PEER_PORT;
}

/* The initiator, if the lower port is the service's. */
static __always_inline __u8 presumed_initiator(__u64 tail)
{
	return tail & service_word(0, 0, KZN_PORT_OF_SOURCE) ? KZN_INITIATOR_DESTINATION
							     : KZN_INITIATOR_SOURCE;
}

/* Notes that a flow may be made of another initiator than the presumed one, or of none. Until then
 * a packet without a conntrack entry is not looked for in such flows. A hint: what endpoints say
 * finds the flow as well, unless they have changed since. User space clears it with the switch of
 * buffers.
 */
static __always_inline void note_other(struct control *ctl)
{
	if (!ctl->others)
		ctl->others = 1;
}

/* The same for a flow of TCP, by its tail with both ports. */
static __always_inline void note_initiator(struct control *ctl, __u64 tail)
{
	__u16 service = tail, peer = tail >> 32;
	__u8 presumed = presumed_initiator(tail);
	bool is_lower = presumed == KZN_INITIATOR_DESTINATION ? service < peer : service <= peer;

	if ((__u8)(tail >> 16) == IPPROTO_TCP &&
	    (!is_lower || !(tail & service_word(0, 0, presumed))))
		note_other(ctl);
}

/* The tail of a key without an initiator, with the initiator and the port of the service. */
static __always_inline __u64 tail_with(__u64 tail, __u8 initiator)
{
	const __u64 of_source = service_word(0, 0, KZN_PORT_OF_SOURCE);

	if (!(tail & of_source) != (initiator == KZN_INITIATOR_SOURCE)) {
		__u64 service = tail & 0xffff, peer = tail >> 32 & 0xffff;

		tail = (tail & ~(KZN_PEER_PORT | 0xffff)) | peer | service << 32;
		tail ^= of_source;
	}
	return tail | service_word(0, 0, initiator);
}

static __always_inline void read_ends(const struct flow_words *key, struct ends *ends)
{
	__u64 protocol = key->tail & service_word(0, 0xff, 0);
	__u64 service = protocol | (key->tail & 0xffff),
	      peer = protocol | (key->tail >> 32 & 0xffff);
	bool of_source = key->tail & service_word(0, 0, KZN_PORT_OF_SOURCE);

	ends->source.address[0] = key->src[0];
	ends->source.address[1] = key->src[1];
	ends->source.port = of_source ? service : peer;
	ends->destination.address[0] = key->dst[0];
	ends->destination.address[1] = key->dst[1];
	ends->destination.port = of_source ? peer : service;
}

/* Adds a packet to the flow that it belongs to if one end or the other is known as a service; that
 * with the lower port first. Such a flow was made when the endpoint was known. False, and the key
 * as it was, if there is neither.
 */
static __always_inline bool add_to_known(__u32 active, struct flow_words *key,
					 const struct flow_counts *counts)
{
	__u64 unknown = key->tail;
	__u8 lower = presumed_initiator(unknown);
	bool added;

	key->tail = kept_tail(tail_with(unknown, lower));
	added = add_to_present(key, counts, active);
	if (!added) {
		key->tail = kept_tail(tail_with(unknown, lower ^ KZN_INITIATORS));
		added = add_to_present(key, counts, active);
	}
	key->tail = unknown;
	return added;
}

/* Whether a source address may add one more endpoint; counts it. */
static __always_inline bool may_add(const struct endpoint *source)
{
	struct node_address address = {.word = {source->address[0], source->address[1]}};
	struct learner first = {.window = bpf_ktime_get_ns() >> WINDOW_SHIFT, .added = 1};
	struct learner *learner = bpf_map_lookup_elem(&learners, &address);

	if (!learner) {
		bpf_map_update_elem(&learners, &address, &first, BPF_NOEXIST);
		return true;
	}
	if (learner->window != first.window) {
		*learner = first;
		return true;
	}
	if (learner->added >= NEW_ENDPOINTS)
		return false;
	learner->added++;
	return true;
}

static __always_inline void learn(const struct endpoint *service, __u32 how,
				  const struct endpoint *source)
{
	__u32 *known = bpf_map_lookup_elem(&endpoints, service);

	if (known) {
		if (!(*known & how))
			*known |= how;
	} else if (may_add(source)) {
		bpf_map_update_elem(&endpoints, service, &how, BPF_NOEXIST);
	}
}

/* Remembers what a handshake, or a socket, tells of an initiator. */
static __noinline void learn_initiator(const struct ends *ends, __u8 initiator)
{
	const struct endpoint *source = &ends->source;
	__u32 *caller;

	if (initiator == KZN_INITIATOR_SOURCE) {
		caller = bpf_map_lookup_elem(&endpoints, source);
		learn(&ends->destination, KZN_ENDPOINT_CALLED, source);
	} else {
		caller = bpf_map_lookup_elem(&endpoints, &ends->destination);
		learn(source, KZN_ENDPOINT_ACCEPTED, source);
	}
	if (caller && !(*caller & KZN_ENDPOINT_CALLS))
		*caller |= KZN_ENDPOINT_CALLS;
}

/* Of two endpoints of services, the one of the higher rank is the service of a connection. */
static __always_inline __u32 rank(__u32 endpoint)
{
	if (endpoint & KZN_ENDPOINT_CALLS)
		return 1;
	return endpoint & KZN_ENDPOINT_ACCEPTED ? 3 : 2;
}

/* The initiator by what is known of both ends: KZN_INITIATOR_*, 0 for unknown. */
static __noinline __u8 find_by_endpoints(const struct ends *ends)
{
	const __u32 *source = bpf_map_lookup_elem(&endpoints, &ends->source);
	const __u32 *destination = bpf_map_lookup_elem(&endpoints, &ends->destination);
	__u32 by_source = source ? rank(*source) : 0;
	__u32 by_destination = destination ? rank(*destination) : 0;

	if (by_source == by_destination)
		return 0;
	return by_source > by_destination ? KZN_INITIATOR_DESTINATION : KZN_INITIATOR_SOURCE;
}

#endif
