/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The settings and maps of every probe.
 *
 * There are two buffers, each of rows, a hash of flows, and totals. control.active, read once per
 * packet, selects the buffer. User space changes it, then replaces the inner map of `fence`: the
 * kernel returns from that update when no program runs any more that may use the other buffer.
 */
#ifndef KZN_MAPS_BPF_H
#define KZN_MAPS_BPF_H

/* An address, protocol and port. */
struct endpoint {
	__u64 address[2]; /* as in flow_key */
	__u64 port; /* above its 16 bits the protocol */
};

/* A flow_key as programs write it, in 64-bit words: narrower stores, which the map then reads as
 * words to hash and compare, stall in the CPU's store buffer. Without CAP_PERFMON, Linux 6.1 also
 * refuses stores to a part of a stack word.
 */
struct flow_words {
	__u64 src[2];
	__u64 dst[2];
	__u64 tail; /* service_word, peer_port << 32, tunnel << 48 */
};
_Static_assert(sizeof(struct flow_words) == sizeof(struct flow_key), "flow_words is a flow_key");

const volatile struct settings settings = {
	.ports = KZN_PORTS_SERVICE,
	.layout = KZN_LAYOUT,
	.place_shift = 64 - KZN_ROWS_BITS,
	.factors = {1, 1, 1, 1, 1, 1},
};

/* Rows of both buffers (rows.bpf.h), which user space reads and clears through mmap. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2 << KZN_ROWS_BITS);
	__type(key, __u32);
	__type(value, struct flow_row);
} rows SEC(".maps");

/* Flows that found no row. */
struct flows {
	__uint(type, BPF_MAP_TYPE_HASH);
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

/* Roles of this node's devices by interface index, KZN_DEVICE_*. User space changes single entries;
 * a device that it has not met yet has none.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, KZN_MAX_DEVICES);
	__type(key, __u32);
	__type(value, __u32);
} devices SEC(".maps");

/* The same roles for a lookup without hash, at place index % KZN_DEVICE_PLACES: the index in the
 * high half, the role in the low one. Of devices with the same place it has one.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KZN_DEVICE_PLACES);
	__type(key, __u32);
	__type(value, __u64);
} device_places SEC(".maps");

/* This node's own addresses, 16 bytes each as in flow_key: a tunnel packet from another one is not
 * of a tunnel of this node.
 */
struct node_address {
	__u64 word[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, KZN_MAX_ADDRESSES);
	__type(key, struct node_address);
	__type(value, __u32);
} addresses SEC(".maps");

/* Endpoints of services by KZN_ENDPOINT_*, learnt from packets (endpoints.bpf.h) for those without
 * a conntrack entry. The least recently used one makes room for a new one.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, KZN_MAX_ENDPOINTS);
	__type(key, struct endpoint);
	__type(value, __u32);
} endpoints SEC(".maps");

/* Far ends of this node's tunnels, by the id that flow_key.tunnel has. Programs insert an entry
 * with the first packet to a far end; entries never change, so that an id means the same in all
 * batches.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, KZN_MAX_TUNNELS);
	__type(key, __u32);
	__type(value, struct node_address);
} tunnels SEC(".maps");

#endif
