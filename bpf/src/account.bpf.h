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
	.layout = KZN_LAYOUT,
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

/* A flow_key as a program writes it: in words. What is stored in pieces and then read whole, by the
 * hash and the comparison of the map, waits for the store buffer; and without CAP_PERFMON Linux 6.1
 * lets nobody store a piece of a word of the stack.
 */
struct flow_words {
	__u64 src[2];
	__u64 dst[2];
	__u64 ends; /* service_word, and above it the other port, no part of a KZN_KEY_SERVICE */
};
_Static_assert(sizeof(struct flow_words) == KZN_KEY_ALL, "flow_words covers the longest key");

static __always_inline __u32 service_word(__u16 port, __u8 protocol, __u8 flags)
{
	return port | (__u32)protocol << 16 | (__u32)flags << 24;
}

static __always_inline void mark_encrypted(struct flow_words *key)
{
	key->ends |= service_word(0, 0, KZN_ENCRYPTED);
}

/* Slots are per CPU, but a program in process context can be interrupted by one in softirq. */
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

/* Traffic that cannot cross a zone makes no flow. What the key alone decides is asked only when a
 * key is first met, and never on the hot path.
 */
static __always_inline enum total ignored(const struct flow_words *key)
{
	bool mapped = !key->dst[0] && (__u32)key->dst[1] == KZN_MAPPED_PREFIX;
	__u32 src = key->src[1] >> 32, dst = key->dst[1] >> 32;

	if (key->src[0] == key->dst[0] && key->src[1] == key->dst[1])
		return TOTAL_IGNORED_LOOPBACK;
	if (!mapped) {
		if ((key->dst[0] & 0xff) == 0xff)
			return TOTAL_IGNORED_MULTICAST;
		if (is_link_local6(key->src) || is_link_local6(key->dst))
			return TOTAL_IGNORED_LINK_LOCAL;
		return TOTAL_SEEN;
	}
	if ((dst & 0xff) == 127)
		return TOTAL_IGNORED_LOOPBACK;
	if ((dst & 0xff) >= 224) /* 224.0.0.0/4 and limited broadcast */
		return TOTAL_IGNORED_MULTICAST;
	if (is_link_local4(src) || is_link_local4(dst))
		return TOTAL_IGNORED_LINK_LOCAL;
	return TOTAL_SEEN;
}

/* A key that was not in the map: TOTAL_SEEN when its counts are in now, else why not. */
static __noinline enum total first(void *flows, const struct flow_words *key,
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

static __always_inline enum total put(void *flows, const struct flow_words *key,
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

static __always_inline struct control *steering(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

/* The slot of a reason by a constant offset: one that is computed is arithmetic on a pointer, which
 * the verifier denies to whoever lacks CAP_PERFMON. The compiler merges no inline assembly, and
 * hence no cases.
 */
#define KZN_SLOT(reason)                                                                           \
	case reason:                                                                               \
		slot = &books->of[reason];                                                         \
		asm volatile("" : "+r"(slot));                                                     \
		break

static __noinline void add_to_reason(struct totals *books, enum total reason,
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

/* Adds a packet to its flow and to the books; `reason` is TOTAL_SEEN, KZN_ARRIVED, or why it makes
 * no flow.
 */
static __always_inline void account(struct control *ctl, const struct flow_words *key,
				    const struct flow_counts *counts, enum total reason)
{
	__u32 active = *(volatile __u32 *)&ctl->active & 1;
	struct totals *books = bpf_map_lookup_elem(&totals, &active);

	if (!books)
		return;
	add(&books->of[TOTAL_SEEN], counts);
	if (reason == KZN_ARRIVED) {
		add(&books->of[KZN_ARRIVED], counts);
		reason = TOTAL_SEEN;
	}
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
	if (reason)
		add_to_reason(books, reason, counts);
}

#endif
