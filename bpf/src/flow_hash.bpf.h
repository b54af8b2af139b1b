/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Words of a key, which flows are never made, and the hash behind the rows. */
#ifndef KZN_FLOW_HASH_BPF_H
#define KZN_FLOW_HASH_BPF_H

#include "maps.bpf.h"

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

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

#endif
