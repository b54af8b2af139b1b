/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which end opened the connection of a packet at tc egress, where conntrack is not asked: by the
 * handshake, by endpoints that are known, by a listening socket of this host.
 */
#ifndef KZN_TC_INITIATOR_BPF_H
#define KZN_TC_INITIATOR_BPF_H

/* Whether a socket has the address and port that a packet comes from. */
static __always_inline bool is_bound_to(const struct bpf_sock *socket, const struct endpoint *end)
{
	if (socket->src_port != (__u16)end->port)
		return false;
	if (!end->address[0] && (__u32)end->address[1] == KZN_MAPPED_PREFIX)
		return socket->src_ip4 == (__u32)(end->address[1] >> 32);
	return socket->src_ip6[0] == (__u32)end->address[0] &&
	       socket->src_ip6[1] == (__u32)(end->address[0] >> 32) &&
	       socket->src_ip6[2] == (__u32)end->address[1] &&
	       socket->src_ip6[3] == (__u32)(end->address[1] >> 32);
}

/* Whether a socket of the network namespace of the device listens at an endpoint. A lookup without
 * the other end finds no connection.
 */
static __always_inline bool is_listened_to(struct __sk_buff *ctx, const struct endpoint *end)
{
	/* struct bpf_sock_tuple: both addresses, both ports */
	__u64 port = (__u64)bpf_htons(end->port) << 16;
	__u64 tuple4[2] = {end->address[1] & ~0xffffffffull, port};
	__u64 tuple6[5] = {0, 0, end->address[0], end->address[1], port};
	bool mapped = !end->address[0] && (__u32)end->address[1] == KZN_MAPPED_PREFIX;
	struct bpf_sock *socket;
	bool listens;

	if (mapped)
		socket = bpf_skc_lookup_tcp(ctx, (void *)tuple4, BPF_SOCK_TUPLE4,
					    BPF_F_CURRENT_NETNS, 0);
	else
		socket = bpf_skc_lookup_tcp(ctx, (void *)tuple6, BPF_SOCK_TUPLE6,
					    BPF_F_CURRENT_NETNS, 0);
	if (!socket)
		return false;
	listens = socket->state == BPF_TCP_LISTEN;
	bpf_sk_release(socket);
	return listens;
}

/* The initiator of a connection of this host, 0 for any other packet. Sockets of pods belong to
 * other network namespaces, and their addresses are not the node's.
 */
static __noinline __u8 find_by_socket(struct __sk_buff *ctx, const struct ends *ends)
{
	const struct endpoint *end = &ends->source;
	struct node_address address = {.word = {end->address[0], end->address[1]}};
	struct bpf_sock *socket = (struct bpf_sock *)ctx->sk;

	if ((ends->source.port >> 16) != IPPROTO_TCP || !socket || !is_bound_to(socket, end) ||
	    !bpf_map_lookup_elem(&addresses, &address))
		return 0;
	return is_listened_to(ctx, end) ? KZN_INITIATOR_DESTINATION : KZN_INITIATOR_SOURCE;
}

/* Sets the initiator of a key that has none, if it can be known. */
static __noinline void settle_initiator(struct __sk_buff *ctx, const struct packet *packet,
					struct flow_words *key)
{
	struct handshake_bytes bytes = {};
	bool learns = true;
	struct ends ends;
	__u8 initiator;

	read_ends(key, &ends);
	bpf_skb_load_bytes(ctx, packet->transport + TCP_DOFF_OFFSET, &bytes, sizeof(bytes));
	initiator = initiator_by_handshake(key->tail >> 16, &bytes);
	if (!initiator) {
		initiator = find_by_endpoints(&ends);
		learns = !initiator;
	}
	if (!initiator)
		initiator = find_by_socket(ctx, &ends);
	if (!initiator)
		return;
	if (learns)
		learn_initiator(&ends, initiator);
	key->tail = tail_with(key->tail, initiator);
}

#endif
