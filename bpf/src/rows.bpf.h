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

#define KZN_PLACES 4
#define KZN_ROW_EMPTY 0
#define KZN_ROW_BEING_MADE 1
#define KZN_ROW_TAG 2 /* set in word[0] of every finished row */

#define RAISED_BYTES (1ull << (KZN_PACKED_BYTES - 1))
#define RAISED_PACKETS (1ull << 63)

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* Adds to packed counts. The addition that sets the highest bit of a half moves it to `carry`. What
 * interrupts it before it has done so finds that bit set, and as much room again above it.
 */
static __always_inline void add_packed(struct packed_counts *to, const struct flow_counts *counts)
{
	__u64 added = counts->packets << KZN_PACKED_BYTES | counts->bytes;
	__u64 before = __sync_fetch_and_add(&to->sum, added);
	__u64 raised = (before ^ (before + added)) & (RAISED_PACKETS | RAISED_BYTES);

	if (unlikely(raised)) {
		__sync_fetch_and_add(&to->sum, -raised);
		__sync_fetch_and_add(&to->carry,
				     raised >> 63 << 32 | (raised & RAISED_BYTES ? 1 : 0));
	}
}

/* The identity of a row, and its first place. Of IPv4, address[0] has both addresses. */
struct wanted_row {
	__u64 word[2];
	__u64 address[4];
	__u64 place;
};

static __always_inline bool is_mapped(const __u64 *address)
{
	return !address[0] && (__u32)address[1] == KZN_MAPPED_PREFIX;
}

/* Fills in word and place. The hash is a sum of products with odd random factors; a bit of a word
 * reaches no lower bit of its product, so the place is taken from the highest.
 */
static __always_inline void identify(struct wanted_row *row, __u64 tail, bool ipv4)
{
	__u64 hash;

	row->word[1] = tail >> 32 << 32 | (ipv4 ? 4 : 6) << 16 | bpf_get_smp_processor_id();
	hash = row->address[0] * settings.factors[0] + row->word[1] * settings.factors[1] +
	       (__u32)tail * settings.factors[2];
	if (!ipv4)
		hash += row->address[1] * settings.factors[3] +
			row->address[2] * settings.factors[4] +
			row->address[3] * settings.factors[5];
	row->word[0] = tail << 32 | hash >> 32 | KZN_ROW_TAG;
	row->place = hash >> settings.place_shift;
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
	identify(row, key->tail, ipv4);
}

static __always_inline void to_key(const struct wanted_row *row, struct flow_words *key)
{
	key->src[0] = row->address[0];
	key->src[1] = row->address[1];
	key->dst[0] = row->address[2];
	key->dst[1] = row->address[3];
	key->tail = row->word[0] >> 32 | row->word[1] >> 32 << 32;
	if ((row->word[1] >> 16 & 0xffff) == 4) {
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

/* Rows of other CPUs never match, so the order in which their words become visible is of no
 * importance here.
 */
static __always_inline bool is_same(const struct flow_row *row, const struct wanted_row *wanted)
{
	return row->word[0] == wanted->word[0] && row->word[1] == wanted->word[1] &&
	       row->address[0] == wanted->address[0] && row->address[1] == wanted->address[1] &&
	       row->address[2] == wanted->address[2] && row->address[3] == wanted->address[3];
}

static __always_inline bool make_row(struct flow_row *row, const struct wanted_row *wanted,
				     const struct flow_counts *counts)
{
	if (__sync_val_compare_and_swap(&row->word[0], KZN_ROW_EMPTY, KZN_ROW_BEING_MADE) !=
	    KZN_ROW_EMPTY)
		return false;
	row->word[1] = wanted->word[1];
	row->address[0] = wanted->address[0];
	row->address[1] = wanted->address[1];
	row->address[2] = wanted->address[2];
	row->address[3] = wanted->address[3];
	add_packed(&row->counts, counts);
	*(volatile __u64 *)&row->word[0] = wanted->word[0];
	return true;
}

/* Whether the packet was added to a row; with `make` also to a new one. */
static __always_inline bool add_to_places(const struct wanted_row *wanted, __u32 active,
					  const struct flow_counts *counts, bool make)
{
	struct flow_row *row;
	int i;

#pragma clang loop unroll(full)
	for (i = 0; i < KZN_PLACES; i++) {
		row = row_at(wanted->place + i, active);
		if (!row)
			break;
		if (is_same(row, wanted)) {
			add_packed(&row->counts, counts);
			return true;
		}
		if (*(volatile __u64 *)&row->word[0] != KZN_ROW_EMPTY)
			continue;
		if (!make)
			break;
		if (make_row(row, wanted, counts))
			return true;
	}
	return false;
}

static __always_inline bool add_to_first_place(const struct wanted_row *wanted, __u32 active,
					       const struct flow_counts *counts)
{
	struct flow_row *row = row_at(wanted->place, active);

	if (unlikely(!row || !is_same(row, wanted)))
		return false;
	add_packed(&row->counts, counts);
	return true;
}

/* Adds a packet to its flow if there is one: in a row, or in the hash. */
static __noinline bool add_to_existing(const struct wanted_row *wanted,
				       const struct flow_counts *counts, __u32 active)
{
	struct flow_counts *present;
	struct flow_words key;

	if (add_to_places(wanted, active, counts, false))
		return true;
	to_key(wanted, &key);
	present =
		active ? bpf_map_lookup_elem(&flows_1, &key) : bpf_map_lookup_elem(&flows_0, &key);
	if (!present)
		return false;
	add(present, counts);
	return true;
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
	if (add_to_places(wanted, active, counts, true))
		return TOTAL_SEEN;
	return active ? add_to_hash(&flows_1, &key, counts) : add_to_hash(&flows_0, &key, counts);
}

/* Adds a packet to the flow of a key, if there is one. */
static __always_inline bool add_to_present(const struct flow_words *key,
					   const struct flow_counts *counts, __u32 active)
{
	struct wanted_row wanted;

	identify_key(&wanted, key);
	return add_to_first_place(&wanted, active, counts) ||
	       add_to_existing(&wanted, counts, active);
}

/* Adds a packet to the flow of a key: TOTAL_SEEN, or the reason why it is in none. */
static __always_inline enum total add_to_flow(struct control *ctl, const struct flow_words *key,
					      const struct flow_counts *counts, __u32 active,
					      bool inbound)
{
	struct wanted_row wanted;

	identify_key(&wanted, key);
	if (add_to_first_place(&wanted, active, counts) || add_to_existing(&wanted, counts, active))
		return TOTAL_SEEN;
	return add_to_new(ctl, &wanted, counts, active, inbound);
}

#endif
