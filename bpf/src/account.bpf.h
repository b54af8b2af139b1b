/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The maps that all probes share, and how a packet is added to its flow.
 *
 * Two buffers, each with its own books. control.active, read once per packet, selects the flows
 * and the totals that the packet goes to; user space changes it and then waits for running
 * programs by replacing the inner map of `fence`, so that the buffer left behind is quiet.
 */
#ifndef KZN_ACCOUNT_BPF_H
#define KZN_ACCOUNT_BPF_H

const volatile struct settings settings = {
	.ports = KZN_PORTS_SERVICE,
};

struct flows {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, KZN_MAX_FLOWS);
	__type(key, struct flow_key);
	__type(value, struct flow_counts);
};

struct flows flows_0 SEC(".maps");
struct flows flows_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct totals);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control);
} control SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct spool_state);
} spool SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(
		values, struct {
			__uint(type, BPF_MAP_TYPE_ARRAY);
			__uint(max_entries, 1);
			__type(key, __u32);
			__type(value, __u32);
		});
} fence SEC(".maps");

/* Slots are per CPU, but a program in process context can be interrupted by one in softirq. */
static __always_inline void add(struct flow_counts *to, const struct flow_counts *counts)
{
	__sync_fetch_and_add(&to->packets, counts->packets);
	__sync_fetch_and_add(&to->bytes, counts->bytes);
}

/* Traffic that cannot cross a zone makes no flow. The key alone decides, so it is asked only
 * when a key is first met, and never on the hot path.
 */
static __always_inline enum total ignored(const struct flow_key *key)
{
	const __u8 *src = key->src, *dst = key->dst;
	const __u64 *src_words = (const __u64 *)src, *dst_words = (const __u64 *)dst;
	bool mapped = !dst_words[0] && *(const __u32 *)(dst + 8) == KZN_MAPPED_PREFIX;

	if (src_words[0] == dst_words[0] && src_words[1] == dst_words[1])
		return TOTAL_IGNORED_LOOPBACK;
	if (mapped) {
		if (dst[12] == 127)
			return TOTAL_IGNORED_LOOPBACK;
		if (dst[12] >= 224) /* 224.0.0.0/4 and limited broadcast */
			return TOTAL_IGNORED_MULTICAST;
		if ((dst[12] == 169 && dst[13] == 254) || (src[12] == 169 && src[13] == 254))
			return TOTAL_IGNORED_LINK_LOCAL;
		return TOTAL_SEEN;
	}
	if (dst[0] == 0xff)
		return TOTAL_IGNORED_MULTICAST;
	if (dst[0] == 0xfe && (dst[1] & 0xc0) == 0x80)
		return TOTAL_IGNORED_LINK_LOCAL;
	if (src[0] == 0xfe && (src[1] & 0xc0) == 0x80)
		return TOTAL_IGNORED_LINK_LOCAL;
	if (!dst_words[0] && dst_words[1] == bpf_cpu_to_be64(1))
		return TOTAL_IGNORED_LOOPBACK;
	return TOTAL_SEEN;
}

/* A key that was not in the map: TOTAL_SEEN when its counts are in now, else why not. */
static __noinline enum total first(void *flows, const struct flow_key *key,
				   const struct flow_counts *counts)
{
	struct flow_counts *present;
	enum total reason = ignored(key);
	long err;

	if (reason)
		return reason;
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
	add(present, counts);
	return TOTAL_SEEN;
}

static __always_inline enum total put(void *flows, const struct flow_key *key,
				      const struct flow_counts *counts)
{
	struct flow_counts *present = bpf_map_lookup_elem(flows, key);

	if (!present)
		return first(flows, key, counts);
	add(present, counts);
	return TOTAL_SEEN;
}

/* Nobody has drained for long: count, but let no flow map grow. */
static __always_inline bool dormant(struct control *ctl)
{
	__u64 now, drained;

	if (!settings.dormant_jiffies)
		return false;
	now = bpf_jiffies64();
	drained = ctl->drained;
	if (!drained) {
		ctl->drained = now;
		return false;
	}
	return now - drained > settings.dormant_jiffies;
}

/* Adds a packet to its flow and to the totals; `reason` is TOTAL_SEEN or why it makes no flow. */
static __always_inline void account(const struct flow_key *key, const struct flow_counts *counts,
				    enum total reason)
{
	__u32 zero = 0, active;
	struct control *ctl = bpf_map_lookup_elem(&control, &zero);
	struct totals *books;

	if (!ctl)
		return;
	active = *(volatile __u32 *)&ctl->active & 1;
	books = bpf_map_lookup_elem(&totals, &active);
	if (!books)
		return;
	add(&books->of[TOTAL_SEEN], counts);
	if (!reason && dormant(ctl))
		reason = TOTAL_MISSED_DORMANT;
	if (!reason) {
		/* Two look-ups on purpose: the kernel inlines one only if its map is certain. */
		if (active) {
			reason = put(&flows_1, key, counts);
			asm volatile("" : "+r"(reason)::"memory");
		} else {
			reason = put(&flows_0, key, counts);
		}
	}
	if (reason && reason < TOTAL_MAX)
		add(&books->of[reason], counts);
}

#endif
