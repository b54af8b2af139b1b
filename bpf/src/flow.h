/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What kernel and user space share: the layout of keys, counts, totals and control.
 *
 * Python's side is kzn/model/flows.py, kzn/model/totals.py and kzn/agent/maps/structs.py; the sizes
 * asserted here are asserted there. Bytes are L3 bytes as the wire carries them
 * (docs/accuracy.md).
 */
#ifndef KZN_FLOW_H
#define KZN_FLOW_H

/* Any change of a struct below is a new layout: user space replaces older pinned maps. */
#define KZN_LAYOUT 1

#define KZN_MAX_FLOWS 65536 /* of one buffer, unless --max-flows says otherwise */

#define KZN_MAPPED_PREFIX 0xffff0000ull /* bytes 8-11 of ::ffff:0:0/96, read little-endian */

/* flow_key.flags */
#define KZN_INITIATOR_SOURCE 0x01
#define KZN_INITIATOR_DESTINATION 0x02
#define KZN_PORT_OF_SOURCE 0x04 /* `port` is the source's; else it is the destination's */
#define KZN_ENCRYPTED 0x08 /* WireGuard or ESP: what is inside is charged to these ends */

/* IPv4 addresses are ::ffff:a.b.c.d. Ports are in host order, 0 where not kept.
 *
 * Nine words: what a look-up costs grows with the key. With --ports all the maps are made with keys
 * of KZN_KEY_ALL bytes, where the port of the other side and two bytes of zero follow.
 */
struct flow_key {
	__u8 src[16];
	__u8 dst[16];
	__u16 port; /* of the side that was connected to */
	__u8 protocol;
	__u8 flags;
};
_Static_assert(sizeof(struct flow_key) == 36, "flow_key is 36 bytes without holes");
#define KZN_KEY_ALL 40

struct flow_counts {
	__u64 packets;
	__u64 bytes;
};
_Static_assert(sizeof(struct flow_counts) == 16, "flow_counts is 16 bytes");

/* For each buffer: seen = accounted (the sum of its flows) + missed + ignored. */
enum total {
	TOTAL_SEEN,
	TOTAL_MISSED_MAP_FULL,
	TOTAL_MISSED_NO_MEMORY,
	TOTAL_MISSED_BUSY,
	TOTAL_MISSED_PARSE,
	TOTAL_MISSED_DORMANT,
	TOTAL_IGNORED_LOOPBACK,
	TOTAL_IGNORED_MULTICAST,
	TOTAL_IGNORED_LINK_LOCAL,
	TOTAL_IGNORED_LOCAL,
	TOTAL_IGNORED_INBOUND,
	TOTAL_IGNORED_TUNNEL,
	TOTAL_MAX = 16, /* room for reasons without a new layout */
};

/* The last slot is no reason: what came in by an uplink for somebody here, and is in flows all the
 * same. What left by an uplink is what remains of TOTAL_SEEN without it and without what stays
 * here; user space compares that with the uplinks' own counters.
 */
#define KZN_ARRIVED ((enum total)15)

struct totals {
	struct flow_counts of[TOTAL_MAX];
};
_Static_assert(sizeof(struct totals) == 256, "totals is 256 bytes");

/* --ports */
#define KZN_PORTS_NONE 0
#define KZN_PORTS_SERVICE 1
#define KZN_PORTS_ALL 2

/* Fixed when the object is loaded: what is off costs nothing. */
struct settings {
	__u64 dormant_jiffies; /* without a drain for this long no flow is made; 0 for never */
	__u32 ports;
	__u32 layout; /* KZN_LAYOUT of the object, which user space reads before it loads it */
};
_Static_assert(sizeof(struct settings) == 16, "settings is 16 bytes");

#define KZN_MAX_UPLINKS 11
/* With an index. What such a device sends leaves by another uplink, */
#define KZN_TUNNEL 0x80000000u /* wrapped up, */
#define KZN_ENCRYPTS 0x40000000u /* and nobody can look inside. */
#define KZN_MARKS (KZN_TUNNEL | KZN_ENCRYPTS)

/* Written by user space, read by every program run: one cache line. */
struct control {
	__u32 active; /* the buffer that packets go to: 0 or 1 */
	__u32 uplinks; /* how many of `uplink` are known; 0 when they are not known for certain */
	__u64 drained; /* jiffies of the first packet after a drain; user space writes 0 */
	__u32 skip_inbound; /* packets from an uplink to no uplink make no flow */
	__u32 uplink[KZN_MAX_UPLINKS]; /* interface indices, tunnels marked */
};
_Static_assert(sizeof(struct control) == 64, "control is 64 bytes");

/* The agent's own: which batch is under way. No program reads it. */
struct spool_state {
	__u32 layout; /* KZN_LAYOUT */
	__u32 phase; /* what is being done with `buffer` */
	__u32 buffer; /* the one that was cut last */
	__u32 server; /* the ledger that its batch was first sent to; 0 for none */
	__u64 epoch; /* random, new with new maps */
	__u64 sequence; /* of the last batch cut */
	__u64 opened_ns[2]; /* CLOCK_BOOTTIME when the buffer became active */
	__u64 closed_ns[2]; /* CLOCK_BOOTTIME when it was left */
	__u8 settings[32]; /* digest of the object and the settings that the maps were made for */
};
_Static_assert(sizeof(struct spool_state) == 96, "spool_state is 96 bytes");

#endif
