/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Adds a packet to its flow and to the totals; the roles of devices. */
#ifndef KZN_ACCOUNT_BPF_H
#define KZN_ACCOUNT_BPF_H

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

/* Keys of arrays in memory that is there already: without CAP_PERFMON, the kernel adds a barrier to
 * a store to the stack, which costs some 6 ns.
 */
static const volatile __u32 keys[] = {0, 1};

static __always_inline struct control *get_control(void)
{
	return bpf_map_lookup_elem(&control, (const void *)&keys[0]);
}

/* The totals of a buffer; NULL for KZN_STOPPED, which is beyond the two buffers. The inline
 * assembly keeps the compiler from computing the key's address, which the kernel would have to
 * check.
 */
static __always_inline struct totals *get_totals(__u32 active)
{
	const volatile __u32 *key = &keys[0];

	if (active) {
		if (unlikely(active != 1))
			return 0;
		key = &keys[1];
		asm volatile("" : "+r"(key));
	}
	return bpf_map_lookup_elem(&totals, (const void *)key);
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

	if (reason == KZN_INBOUND_IN_FLOWS) {
		add(&buffer_totals->slot[KZN_INBOUND_IN_FLOWS], counts);
		return;
	}
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

static __always_inline struct packed_counts *seen_of(struct totals *buffer_totals)
{
	return (struct packed_counts *)&buffer_totals->slot[TOTAL_SEEN];
}

/* Adds a packet to what was seen; the totals of the active buffer, NULL for none. `reason` becomes
 * TOTAL_SEEN for a packet that is to be added to a flow.
 */
static __always_inline struct totals *add_to_seen(__u32 active, const struct flow_counts *counts,
						  enum total *reason)
{
	struct totals *buffer_totals = get_totals(active);

	if (!buffer_totals)
		return 0;
	add_packed(seen_of(buffer_totals), packed(counts));
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
