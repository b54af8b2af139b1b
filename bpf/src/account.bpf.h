/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Adds a packet to its flow and to the totals; the roles of devices. */
#ifndef KZN_ACCOUNT_BPF_H
#define KZN_ACCOUNT_BPF_H

#include "maps.bpf.h"

static __always_inline __u32 service_word(__u16 port, __u8 protocol, __u8 flags)
{
	return port | (__u32)protocol << 16 | (__u32)flags << 24;
}

static __always_inline void mark(struct flow_words *key, __u8 flags)
{
	key->tail |= service_word(0, 0, flags);
}

/* Atomic although slots are per CPU: a program in softirq can interrupt one in process context. */
static __always_inline void add(struct flow_counts *to, const struct flow_counts *counts)
{
	__sync_fetch_and_add(&to->packets, counts->packets);
	__sync_fetch_and_add(&to->bytes, counts->bytes);
}

static __always_inline bool is_link_local6(const __u64 *address)
{
	return (address[0] & bpf_cpu_to_be64(0xffc0ull << 48)) == bpf_cpu_to_be64(0xfe80ull << 48);
}

static __always_inline bool is_link_local4(__u32 address)
{
	return (address & bpf_htonl(0xffff0000)) == bpf_htonl(0xa9fe0000); /* 169.254.0.0/16 */
}

/* Why traffic that cannot cross a zone makes no flow, by its key alone; TOTAL_SEEN for all other
 * traffic. Called only for keys that are not in the map, hence not on the hot path.
 *
 * Link-local is what is certain to stay on the link, which is the far end's address: a near end may
 * have such an address and be translated behind the hook. The far end of a packet that came in is
 * its source.
 */
static __always_inline enum total ignored_by_key(const struct flow_words *key, bool inbound)
{
	const __u64 *far = inbound ? key->src : key->dst;
	bool mapped = !key->dst[0] && (__u32)key->dst[1] == KZN_MAPPED_PREFIX;
	__u32 dst = key->dst[1] >> 32;

	if (key->src[0] == key->dst[0] && key->src[1] == key->dst[1])
		return TOTAL_IGNORED_LOOPBACK;
	if (!mapped) {
		if ((key->dst[0] & 0xff) == 0xff)
			return TOTAL_IGNORED_MULTICAST;
		if (is_link_local6(far))
			return TOTAL_IGNORED_LINK_LOCAL;
		return TOTAL_SEEN;
	}
	if ((dst & 0xff) == 127)
		return TOTAL_IGNORED_LOOPBACK;
	if ((dst & 0xf0) == 224 || dst == 0xffffffff) /* 224.0.0.0/4 and limited broadcast */
		return TOTAL_IGNORED_MULTICAST;
	if (is_link_local4(far[1] >> 32))
		return TOTAL_IGNORED_LINK_LOCAL;
	return TOTAL_SEEN;
}

/* Adds a packet to a flow of a hash. With BPF_NOEXIST, the CPU that loses a race for the insert
 * adds to the winner's flow.
 */
static __always_inline enum total add_to_hash(void *flows, const struct flow_words *key,
					      const struct flow_counts *counts)
{
	struct flow_counts *present = bpf_map_lookup_elem(flows, key);
	long err;

	if (!present) {
		err = bpf_map_update_elem(flows, key, counts, BPF_NOEXIST);
		if (!err)
			return TOTAL_SEEN;
		if (err == -E2BIG)
			return TOTAL_MISSED_MAP_FULL;
		if (err == -ENOMEM)
			return TOTAL_MISSED_NO_MEMORY;
		present = bpf_map_lookup_elem(flows, key);
		if (!present)
			return TOTAL_MISSED_BUSY;
	}
	add(present, counts);
	return TOTAL_SEEN;
}

/* Whether the last drain is longer ago than `jiffies`; 0 is never. */
static __always_inline bool is_drained_before(struct control *ctl, __u64 jiffies)
{
	__u64 now, drained;

	if (!jiffies)
		return false;
	now = bpf_jiffies64();
	drained = ctl->drained;
	if (!drained) {
		ctl->drained = now;
		return false;
	}
	return now - drained > jiffies;
}

/* No agent for long: packets are counted in the totals alone, so that its maps do not grow. */
static __always_inline bool is_dormant(struct control *ctl)
{
	return is_drained_before(ctl, settings.dormant_jiffies);
}

/* No agent for a while: what it knew of devices may be true no more. */
static __always_inline bool is_unattended(struct control *ctl)
{
	return is_drained_before(ctl, settings.dormant_jiffies / 10);
}

#include "rows.bpf.h"

static __always_inline __u32 device_role(__u32 index)
{
	__u32 at = index % KZN_DEVICE_PLACES;
	const volatile __u64 *place = bpf_map_lookup_elem(&device_places, &at);
	const __u32 *role;
	__u64 known;

	if (place) {
		known = *place;
		if (likely(known >> 32 == index))
			return known;
	}
	role = bpf_map_lookup_elem(&devices, &index);
	return role ? *role : 0;
}

/* Whether the source is an address of this node. */
static __always_inline bool is_from_node(const struct flow_words *key)
{
	struct node_address source = {.word = {key->src[0], key->src[1]}};

	return bpf_map_lookup_elem(&addresses, &source);
}

/* False for a device that is certainly not a tunnel device; costs no lookup. */
static __always_inline bool may_be_tunnel(const struct control *ctl, __u32 index)
{
	return ctl->tunnel_devices >> (index & 63) & 1;
}

#define KZN_TUNNEL_PLACES 8
#define KZN_TUNNEL_HASH 0x9e3779b97f4a7c15ull

/* The id of a tunnel by its far end, the outer destination: one of a few that the address
 * hashes to, so that CPUs agree without a shared counter.
 */
__noinline __u32 tunnel_id(__u64 dst0, __u64 dst1)
{
	struct node_address far = {.word = {dst0, dst1}};
	__u64 hash = (far.word[0] ^ far.word[0] >> 29) * KZN_TUNNEL_HASH;
	__u32 id;
	int i;

	hash = (hash ^ far.word[1]) * KZN_TUNNEL_HASH;
	id = 1 + ((hash >> 32) * (KZN_TUNNEL_WITHOUT_ID - KZN_TUNNEL_PLACES) >> 32);
#pragma clang loop unroll(full)
	for (i = 0; i < KZN_TUNNEL_PLACES; i++, id++) {
		const struct node_address *held = bpf_map_lookup_elem(&tunnels, &id);

		if (!held) {
			if (!bpf_map_update_elem(&tunnels, &id, &far, BPF_NOEXIST))
				return id;
			held = bpf_map_lookup_elem(&tunnels, &id); /* of the CPU that was first */
			if (!held)
				break;
		}
		if (held->word[0] == far.word[0] && held->word[1] == far.word[1])
			return id;
	}
	return KZN_TUNNEL_WITHOUT_ID;
}

/* The part of a key's tail that tells the device that the packet came in by; 0 is none. The source
 * of a forwarded packet may have been translated, or be one that several pods have; user space
 * knows which pod is behind the device. A few instructions, no lookup.
 */
static __always_inline __u64 input_word(__u32 index)
{
	return index ? service_word(0, 0, KZN_BY_DEVICE) | (__u64)index << 48 : 0;
}

/* Adds the input device to the key of a packet that no tunnel of this node encapsulated. */
static __always_inline void mark_input(struct flow_words *key, __u32 index)
{
	if (!(key->tail >> 48))
		key->tail |= input_word(index);
}

/* Replaces the key of a packet that a tunnel of this node encapsulated by that of the inner packet,
 * with the id of the tunnel.
 */
static __always_inline void use_inner(struct flow_words *key, const struct flow_words *inner)
{
	__u64 tail = inner->tail | (__u64)tunnel_id(key->dst[0], key->dst[1]) << 48;

	*key = *inner;
	key->tail = tail;
}

static __always_inline struct control *get_control(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

/* Selects the slot by a constant offset: without CAP_PERFMON, the verifier refuses a computed one
 * (pointer arithmetic). The inline assembly keeps the compiler from merging the cases.
 */
#define KZN_SLOT(reason)                                                                           \
	case reason:                                                                               \
		slot = &buffer_totals->slot[reason];                                               \
		asm volatile("" : "+r"(slot));                                                     \
		break

static __noinline void add_to_reason(struct totals *buffer_totals, enum total reason,
				     const struct flow_counts *counts)
{
	struct flow_counts *slot;

	switch (reason) {
		KZN_SLOT(TOTAL_MISSED_MAP_FULL);
		KZN_SLOT(TOTAL_MISSED_NO_MEMORY);
		KZN_SLOT(TOTAL_MISSED_BUSY);
		KZN_SLOT(TOTAL_MISSED_PARSE);
		KZN_SLOT(TOTAL_MISSED_DORMANT);
		KZN_SLOT(TOTAL_IGNORED_LOOPBACK);
		KZN_SLOT(TOTAL_IGNORED_MULTICAST);
		KZN_SLOT(TOTAL_IGNORED_LINK_LOCAL);
		KZN_SLOT(TOTAL_IGNORED_LOCAL);
		KZN_SLOT(TOTAL_IGNORED_INBOUND);
		KZN_SLOT(TOTAL_IGNORED_TUNNEL);
	default:
		return;
	}
	add(slot, counts);
}

#define KZN_PEER_PORT (0xffffull << 32) /* in flow_words.tail */

/* The tail as flows have it. */
static __always_inline __u64 kept_tail(__u64 tail)
{
	return settings.ports == KZN_PORTS_ALL ? tail : tail & ~KZN_PEER_PORT;
}

static __always_inline __u32 get_active(struct control *ctl)
{
	return *(volatile __u32 *)&ctl->active;
}

/* Adds a packet to what was seen; the totals of the active buffer, NULL for none. `reason` becomes
 * TOTAL_SEEN for a packet that is to be added to a flow.
 */
static __always_inline struct totals *add_to_seen(__u32 active, const struct flow_counts *counts,
						  enum total *reason)
{
	struct totals *buffer_totals = bpf_map_lookup_elem(&totals, &active);

	if (!buffer_totals)
		return 0;
	add_packed((struct packed_counts *)&buffer_totals->slot[TOTAL_SEEN], counts);
	if (*reason == KZN_INBOUND_IN_FLOWS) {
		add(&buffer_totals->slot[KZN_INBOUND_IN_FLOWS], counts);
		*reason = TOTAL_SEEN;
	}
	return buffer_totals;
}

/* Adds a packet to the totals and, if `reason` is TOTAL_SEEN or KZN_INBOUND_IN_FLOWS, to its flow.
 * Any other reason says why the packet makes no flow. The port that --ports does not keep is
 * removed from the key.
 */
static __always_inline void account(struct control *ctl, struct flow_words *key,
				    const struct flow_counts *counts, enum total reason)
{
	bool inbound = reason == KZN_INBOUND_IN_FLOWS;
	__u32 active = get_active(ctl);
	struct totals *buffer_totals = add_to_seen(active, counts, &reason);

	if (!buffer_totals) /* KZN_STOPPED is beyond the two buffers */
		return;
	key->tail = kept_tail(key->tail);
	if (!reason)
		reason = add_to_flow(ctl, key, counts, active, inbound);
	if (reason)
		add_to_reason(buffer_totals, reason, counts);
}

#endif
