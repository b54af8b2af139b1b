// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The cost of a simple program, for comparison: one hash for all CPUs, IPv4 only, keyed by addresses and ports, atomic
 * adds, headers through dynptr slices. No totals, no segments, no IPv6, no direction.
 */
#include "kernel_types.h"

#include <bpf/bpf_helpers.h>

#define BPF_MAP_TYPE_HASH 1

extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, __u32 offset, void *buffer,
			      __u32 buffer__szk) __ksym;

struct key {
	__u32 src;
	__u32 dst;
	__u16 src_port;
	__u16 dst_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct key);
	__type(value, __u64);
} pairs SEC(".maps");

struct ports {
	__u16 source;
	__u16 dest;
};

SEC("netfilter")
int baseline(struct bpf_nf_ctx *ctx)
{
	struct bpf_dynptr packet;
	struct iphdr ip_buffer;
	struct ports ports_buffer;
	const struct ports *ports;
	const struct iphdr *ip;
	struct key key = {};
	__u64 *bytes, length;

	if (bpf_dynptr_from_skb((struct __sk_buff *)ctx->skb, 0, &packet))
		return NF_ACCEPT;
	ip = bpf_dynptr_slice(&packet, 0, &ip_buffer, sizeof(ip_buffer));
	if (!ip)
		return NF_ACCEPT;
	key.src = ip->saddr;
	key.dst = ip->daddr;
	length = __builtin_bswap16(ip->tot_len);
	if (ip->protocol == IPPROTO_TCP || ip->protocol == IPPROTO_UDP) {
		ports = bpf_dynptr_slice(&packet, (ip->version_ihl & 0xf) * 4, &ports_buffer,
					 sizeof(ports_buffer));
		if (!ports)
			return NF_ACCEPT;
		key.src_port = ports->source;
		key.dst_port = ports->dest;
	}
	bytes = bpf_map_lookup_elem(&pairs, &key);
	if (bytes)
		__sync_fetch_and_add(bytes, length);
	else
		bpf_map_update_elem(&pairs, &key, &length, BPF_NOEXIST);
	return NF_ACCEPT;
}

char LICENSE[] SEC("license") = "GPL";
