/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Layouts shared by kernel and user space: flow keys, counts, totals, settings and control.
 *
 * The Python side is kzn/model/flows.py, kzn/model/totals.py and kzn/agent/maps/structs.py, which
 * assert the same sizes. Bytes are L3 bytes as sent on the wire (docs/accuracy.md).
 */
#ifndef KZN_FLOW_H
#define KZN_FLOW_H

/* Changes with every struct below; the agent replaces pinned maps of another layout. */
#define KZN_LAYOUT 4

#define KZN_MAX_FLOWS 65536 /* in the hash of a buffer; --max-flows overrides it */
#define KZN_ROWS_BITS 16 /* binary logarithm of the rows of a buffer, unless user space sets it */

#define KZN_MAPPED_PREFIX 0xffff0000ull /* bytes 8-11 of ::ffff:0:0/96, read little-endian */

/* flow_key.flags */
#define KZN_INITIATOR_SOURCE 0x01
#define KZN_INITIATOR_DESTINATION 0x02
#define KZN_PORT_OF_SOURCE 0x04 /* `port` is the source's, otherwise the destination's */
#define KZN_ENCRYPTED 0x08 /* WireGuard or ESP: charged to the outer addresses */
#define KZN_RELAYED 0x10 /* came in by a tunnel device of this node and leaves the node again */
#define KZN_DELIVERED 0x20 /* came in by a tunnel device of this node, for a local device */
#define KZN_BY_DEVICE 0x80 /* in by a device, and `tunnel` has the low half of its index */

/* IPv4 addresses are ::ffff:a.b.c.d. Ports are in host byte order, 0 where not kept. */
struct flow_key {
	__u8 src[16];
	__u8 dst[16];
	__u16 port; /* of the side that accepted the connection */
	__u8 protocol;
	__u8 flags;
	__u16 peer_port; /* of the other side; 0 unless --ports all */
	__u16 tunnel; /* of this node, by its far end: id in `tunnels`; 0: none; KZN_BY_DEVICE */
};
_Static_assert(sizeof(struct flow_key) == 40, "flow_key is 40 bytes without padding");

struct flow_counts {
	__u64 packets;
	__u64 bytes;
};
_Static_assert(sizeof(struct flow_counts) == 16, "flow_counts is 16 bytes");

/* Counts that one atomic addition changes: bytes in the low KZN_PACKED_BYTES bits of `sum`, packets
 * above. `carry` has how often 2^39 bytes (low 32 bits) and 2^23 packets (high) were moved to it.
 */
#define KZN_PACKED_BYTES 40
struct packed_counts {
	__u64 sum;
	__u64 carry;
};

/* One flow as one CPU saw it, a cache line. word[0]: 0 for an empty row, 1 while it is filled in,
 * else a hash in the low half and service_word() in the high one. word[1], from the lowest bit: CPU
 * (16 bits), family (4 or 6), and the high half of the key's tail. Of IPv4, address[0] has the
 * source in its low half and the destination in its high one.
 */
struct flow_row {
	__u64 word[2];
	__u64 address[4];
	struct packed_counts counts;
};
_Static_assert(sizeof(struct flow_row) == 64, "flow_row is one cache line");

/* In each buffer: seen = accounted (the sum of its flows) + missed + ignored. */
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
	TOTAL_MAX = 16, /* spare slots, so that a new reason needs no new layout */
};

/* The last slot is not a reason: packets that came in by an uplink for a local destination and are
 * in flows too. TOTAL_SEEN without these and without ignored local, inbound and tunnel is what left
 * by an uplink; user space compares it with the interface counters of the uplinks.
 */
#define KZN_INBOUND_IN_FLOWS ((enum total)15)

struct totals {
	struct flow_counts slot[TOTAL_MAX]; /* that of TOTAL_SEEN is a struct packed_counts */
};
_Static_assert(sizeof(struct totals) == 256, "totals is 256 bytes");

/* --ports */
#define KZN_PORTS_NONE 0
#define KZN_PORTS_SERVICE 1
#define KZN_PORTS_ALL 2

/* Constant from load on, so that the verifier removes the code of disabled features. */
struct settings {
	__u64 dormant_jiffies; /* no new flows after this long without a drain; 0: no limit */
	__u32 ports;
	__u32 layout; /* KZN_LAYOUT of the object; user space reads it before the load */
	__u64 place_shift; /* 64 - the binary logarithm of a buffer's rows */
	__u64 factors[6]; /* of the hash: random and odd, so that collisions cannot be chosen */
};
_Static_assert(sizeof(struct settings) == 72, "settings is 72 bytes");

/* Roles of a device, written by user space into the map `devices`. A device without a role is one
 * that user space has not met yet: what it sends may leave the node.
 */
#define KZN_DEVICE_STAYS 0x01 /* what it sends stays on the node */
#define KZN_DEVICE_TUNNEL 0x02 /* it encapsulates: the packet passes the hook again, */
#define KZN_DEVICE_ENCRYPTS 0x04 /* and what is inside cannot be read any more */
#define KZN_DEVICE_PASSES_AGAIN 0x08 /* the packet passes the hook again at a lower device */
#define KZN_DEVICE_LEADS_OFF 0x10 /* what it sends leaves the node */
#define KZN_DEVICE_ENTRY (KZN_DEVICE_TUNNEL | KZN_DEVICE_PASSES_AGAIN | KZN_DEVICE_LEADS_OFF)

#define KZN_MAX_DEVICES 16384
#define KZN_DEVICE_PLACES 1024
#define KZN_MAX_ADDRESSES 4096
#define KZN_MAX_TUNNELS 16384
#define KZN_TUNNEL_WITHOUT_ID 0xffff /* flow_key.tunnel: no room for the far end */

/* What is known of an endpoint (an address, protocol and port) in the map `endpoints`. */
#define KZN_ENDPOINT_CALLED 0x01 /* a connection to it was opened */
#define KZN_ENDPOINT_ACCEPTED 0x02 /* it accepted a connection, or a socket listens there */
#define KZN_ENDPOINT_CALLS 0x04 /* it opens connections from the same port as well */

#define KZN_MAX_ENDPOINTS 32768

/* Set in control.active once another set of programs counts in place of this one. */
#define KZN_STOPPED 2

#define KZN_UPLINKS 4 /* known without a lookup; any further ones are in the map `devices` */

/* Written by user space, read by every run of a program: one cache line. */
struct control {
	__u32 active; /* the buffer that packets are added to; with KZN_STOPPED, none are counted */
	__u32 skip_inbound; /* packets from a device that leads off to a local one make no flow */
	__u64 drained; /* jiffies of the first packet after a drain; user space writes 0 */
	__u64 tunnel_devices; /* bit (index % 64) of each device that encapsulates */
	__u32 uplinks[KZN_UPLINKS]; /* devices with KZN_DEVICE_LEADS_OFF alone, or 0 */
	__u64 others; /* programs set it: flows of others than the presumed initiator were made */
	__u64 unused[2];
};
_Static_assert(sizeof(struct control) == 64, "control is 64 bytes");

/* The agent's record of the batch being sent. Programs do not read it. */
struct spool_state {
	__u32 layout; /* KZN_LAYOUT */
	__u32 phase; /* of `buffer`: idle, cut or acknowledged */
	__u32 buffer; /* the one that was cut last */
	__u32 server; /* the ledger that its batch was first sent to; 0 for none */
	__u64 epoch; /* random, new with every new set of maps */
	__u64 sequence; /* of the last batch cut */
	__u64 opened_ns[2]; /* CLOCK_BOOTTIME when the buffer became active */
	__u64 closed_ns[2]; /* CLOCK_BOOTTIME when it ceased to be active */
	__u8 settings[32]; /* digest of the object and the settings that the maps were made for */
};
_Static_assert(sizeof(struct spool_state) == 96, "spool_state is 96 bytes");

#endif
