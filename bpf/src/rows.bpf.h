/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Adds a packet to the row of its flow and CPU, or to the hash behind the rows.
 *
 * A row is one cache line of an array, at one of KZN_PLACES neighbouring places that a hash of flow
 * and CPU gives. A row is made once, stays until user space clears the quiet buffer, and is never
 * evicted. A flow has a row for each CPU that saw it, and may have one more for each interrupt that
 * came while one was made; user space adds them up. A flow that finds no place is added to the
 * buffer's hash, which all CPUs share.
 */
#ifndef KZN_ROWS_BPF_H
#define KZN_ROWS_BPF_H

#include "flow_hash.bpf.h"

#define KZN_PLACES 4
#define KZN_ROW_EMPTY 0
#define KZN_ROW_BEING_MADE 1
#define KZN_ROW_TAG 2 /* set in word[0] of every finished row */

#define RAISED_BYTES (1ull << (KZN_PACKED_BYTES - 1))
#define RAISED_PACKETS (1ull << 63)

static __always_inline __u64 packed(const struct flow_counts *counts)
{
	return counts->packets << KZN_PACKED_BYTES | counts->bytes;
}

/* Adds to packed counts. The addition that sets the highest bit of a half moves it to `carry`. What
 * interrupts it before it has done so finds that bit set, and as much room again above it.
 */
static __always_inline void add_packed(struct packed_counts *to, __u64 added)
{
	__u64 before = __sync_fetch_and_add(&to->sum, added);
	__u64 after = before + added, raised;

	if (unlikely(after & (RAISED_PACKETS | RAISED_BYTES))) {
		raised = (before ^ after) & (RAISED_PACKETS | RAISED_BYTES);
		__sync_fetch_and_add(&to->sum, -raised);
		__sync_fetch_and_add(&to->carry,
				     raised >> 63 << 32 | (raised & RAISED_BYTES ? 1 : 0));
	}
}

/* The row of a flow and CPU. Of IPv4, address[0] has both addresses. */
struct wanted_row {
	__u64 address[4];
	__u64 tail; /* of the key */
	__u64 cpu; /* and above it the family */
	__u64 hash;
};

/* The first words of the row. */
static __always_inline __u64 first_word(const struct wanted_row *row)
{
	return row->tail << 32 | row->hash >> 32 | KZN_ROW_TAG;
}

static __always_inline __u64 second_word(const struct wanted_row *row)
{
	__u64 word = row->tail >> 32 << 32 | row->cpu;

	barrier_var(word); /* or the compiler computes it twice, and keeps more */
	return word;
}

static __always_inline bool is_mapped(const __u64 *address)
{
	return !address[0] && (__u32)address[1] == KZN_MAPPED_PREFIX;
}

/* The hash. A sum of products with odd random factors comes first, of words whose first byte in the
 * packet is the highest: addresses differ in their last bytes mostly, and a bit of a word reaches
 * no lower bit of its product. Flows in sequence have such sums in arithmetic progressions, which
 * may crowd; folding the sum and multiplying it again spreads these like random ones. The CPU has
 * a product of its own: added to another word, it would make the CPUs of one flow those of others.
 * This is the sum without the tail, apart so that a program need not keep addresses and CPU, which
 * are set.
 */
static __always_inline void begin_hash(struct wanted_row *row, bool ipv4)
{
	row->hash = bpf_be64_to_cpu(row->address[0]) * settings.factors[0] +
		    row->cpu * settings.factors[5];
	if (!ipv4)
		row->hash += bpf_be64_to_cpu(row->address[1]) * settings.factors[1] +
			     bpf_be64_to_cpu(row->address[2]) * settings.factors[2] +
			     bpf_be64_to_cpu(row->address[3]) * settings.factors[3];
}

static __always_inline __u64 get_cpu(bool ipv4)
{
	return bpf_get_smp_processor_id() | (ipv4 ? 4 : 6) << 16;
}

/* Completes the hash. */
static __always_inline void identify(struct wanted_row *row, __u64 tail)
{
	__u64 hash = row->hash + tail * settings.factors[4];

	row->tail = tail;
	row->hash = (hash ^ hash >> 32) * settings.factors[5];
}

static __always_inline void identify_key(struct wanted_row *row, const struct flow_words *key)
{
	bool ipv4 = is_mapped(key->src) && is_mapped(key->dst);

	row->address[0] = key->src[0];
	row->address[1] = key->src[1];
	row->address[2] = key->dst[0];
	row->address[3] = key->dst[1];
	if (ipv4) {
		row->address[0] = key->src[1] >> 32 | key->dst[1] >> 32 << 32;
		row->address[1] = row->address[2] = row->address[3] = 0;
	}
	row->cpu = get_cpu(ipv4);
	begin_hash(row, ipv4);
	identify(row, key->tail);
}

static __always_inline void to_key(const struct wanted_row *row, struct flow_words *key)
{
	key->src[0] = row->address[0];
	key->src[1] = row->address[1];
	key->dst[0] = row->address[2];
	key->dst[1] = row->address[3];
	key->tail = row->tail;
	if (row->cpu >> 16 == 4) {
		key->src[0] = key->dst[0] = 0;
		key->src[1] = KZN_MAPPED_PREFIX | row->address[0] << 32;
		key->dst[1] = KZN_MAPPED_PREFIX | row->address[0] >> 32 << 32;
	}
}

/* The row at a place of a buffer; places after the last are its first. */
static __always_inline struct flow_row *row_at(__u64 place, __u32 active)
{
	__u64 places = 1ull << (64 - settings.place_shift);
	__u32 index = (place & (places - 1)) + (active ? places : 0);

	return bpf_map_lookup_elem(&rows, &index);
}

static __always_inline bool has_identity(const struct flow_row *row,
					 const struct wanted_row *wanted)
{
	return row->word[0] == first_word(wanted) && row->word[1] == second_word(wanted);
}

static __always_inline bool has_addresses(const struct flow_row *row, const __u64 *address,
					  bool ipv4)
{
	return row->address[0] == address[0] &&
	       (ipv4 || (row->address[1] == address[1] && row->address[2] == address[2] &&
			 row->address[3] == address[3]));
}

/* Rows of other CPUs never match, so the order in which their words become visible is of no
 * importance here. Of IPv4, all but the first address are 0 in both.
 */
static __always_inline bool is_same(const struct flow_row *row, const struct wanted_row *wanted)
{
	return has_identity(row, wanted) && has_addresses(row, wanted->address, false);
}

static __always_inline bool make_row(struct flow_row *row, const struct wanted_row *wanted,
				     __u64 added)
{
	if (__sync_val_compare_and_swap(&row->word[0], KZN_ROW_EMPTY, KZN_ROW_BEING_MADE) !=
	    KZN_ROW_EMPTY)
		return false;
	row->word[1] = second_word(wanted);
	row->address[0] = wanted->address[0];
	row->address[1] = wanted->address[1];
	row->address[2] = wanted->address[2];
	row->address[3] = wanted->address[3];
	add_packed(&row->counts, added);
	*(volatile __u64 *)&row->word[0] = first_word(wanted);
	return true;
}

enum found {
	FOUND_IN_ROW, /* the packet was added to it */
	FOUND_NOWHERE,
	MAY_BE_IN_HASH,
};

/* Adds a packet to the row of its flow, or to a new one if `make`. A flow is added to the hash if
 * none of its places is empty, and a place that is taken stays so: of a flow with an empty place,
 * this CPU has added nothing to the hash for the same wanted row. It may have for another row of
 * the flow, and user space adds up both: that of programs with other factors, loaded for these maps
 * before, and that of IPv6 with mapped addresses, which is of IPv4 on the full path alone.
 */
static __always_inline enum found add_to_row(const struct wanted_row *wanted, __u32 active,
					     __u64 added, bool make)
{
	struct flow_row *row;
	int i;

#pragma clang loop unroll(full)
	for (i = 0; i < KZN_PLACES; i++) {
		row = row_at((wanted->hash >> settings.place_shift) + i, active);
		if (!row)
			break;
		if (is_same(row, wanted)) { /* if `make`, of an interrupt since it was looked for */
			add_packed(&row->counts, added);
			return FOUND_IN_ROW;
		}
		if (*(volatile __u64 *)&row->word[0] != KZN_ROW_EMPTY)
			continue;
		if (!make)
			return FOUND_NOWHERE;
		if (make_row(row, wanted, added))
			return FOUND_IN_ROW;
	}
	return MAY_BE_IN_HASH;
}

static __always_inline struct flow_row *first_row(const struct wanted_row *wanted, __u32 active)
{
	__u64 shift = settings.place_shift;
	__u32 index = wanted->hash >> shift | (__u64)active << (64 - shift);

	return bpf_map_lookup_elem(&rows, &index);
}

static __always_inline bool add_to_first_place(const struct wanted_row *wanted, bool ipv4,
					       __u32 active, __u64 added)
{
	struct flow_row *row = first_row(wanted, active);

	if (unlikely(!row || !has_identity(row, wanted) ||
		     !has_addresses(row, wanted->address, ipv4)))
		return false;
	add_packed(&row->counts, added);
	return true;
}

/* Adds a packet to its flow in the hash, if it is there. */
static __always_inline bool add_to_hashed(const struct wanted_row *wanted,
					  const struct flow_counts *counts, __u32 active)
{
	struct flow_counts *present;
	struct flow_words key;

	to_key(wanted, &key);
	present =
		active ? bpf_map_lookup_elem(&flows_1, &key) : bpf_map_lookup_elem(&flows_0, &key);
	if (!present)
		return false;
	add(present, counts);
	return true;
}

/* Adds a packet to its flow if there is one: in a row, or in the hash. */
static __noinline bool add_to_existing(const struct wanted_row *wanted,
				       const struct flow_counts *counts, __u32 active)
{
	enum found found = add_to_row(wanted, active, packed(counts), false);

	if (found != MAY_BE_IN_HASH)
		return found == FOUND_IN_ROW;
	return add_to_hashed(wanted, counts, active);
}

/* Adds a packet to a new flow: TOTAL_SEEN, or the reason why it makes none. Another CPU, or an
 * interrupt, may have made the flow meanwhile.
 */
static __noinline enum total add_to_new(struct control *ctl, const struct wanted_row *wanted,
					const struct flow_counts *counts, __u32 active,
					bool inbound)
{
	struct flow_words key;
	enum total reason;

	to_key(wanted, &key);
	reason = ignored_by_key(&key, inbound);
	if (reason)
		return reason;
	if (is_dormant(ctl))
		return TOTAL_MISSED_DORMANT;
	if (add_to_row(wanted, active, packed(counts), true) == FOUND_IN_ROW)
		return TOTAL_SEEN;
	return active ? add_to_hash(&flows_1, &key, counts) : add_to_hash(&flows_0, &key, counts);
}

/* Adds a packet to the flow of a key, if there is one. */
static __always_inline bool add_to_present(const struct flow_words *key,
					   const struct flow_counts *counts, __u32 active)
{
	struct wanted_row wanted;

	identify_key(&wanted, key);
	return add_to_existing(&wanted, counts, active);
}

/* Adds a packet to the flow of a key: TOTAL_SEEN, or the reason why it is in none. */
static __always_inline enum total add_to_flow(struct control *ctl, const struct flow_words *key,
					      const struct flow_counts *counts, __u32 active,
					      bool inbound)
{
	struct wanted_row wanted;

	identify_key(&wanted, key);
	if (add_to_existing(&wanted, counts, active))
		return TOTAL_SEEN;
	return add_to_new(ctl, &wanted, counts, active, inbound);
}

#endif
