/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Where a packet at a netfilter hook goes: out by an uplink, into a tunnel, or to a local device.
 */
#ifndef KZN_NETFILTER_UPLINKS_BPF_H
#define KZN_NETFILTER_UPLINKS_BPF_H

/* IPsec without a device: the packet passes again after encryption, and is accounted then. */
static __always_inline bool awaits_ipsec(const struct sk_buff *skb)
{
	const struct dst_entry *dst;

	dst = kernel_cast(struct dst_entry, skb->_skb_refdst & ~SKB_DST_NOREF);
	return bpf_core_field_exists(dst->xfrm) && dst->xfrm;
}

/* True for the first few devices that lead off the node and do nothing else: no lookup. */
static __always_inline bool is_uplink(const struct control *ctl, __u32 index)
{
	int i;

#pragma clang loop unroll(full)
	for (i = 0; i < KZN_UPLINKS; i++)
		if (likely(ctl->uplinks[i] == index))
			return true;
	return false;
}

/* The reason for account(): TOTAL_SEEN for a packet that leaves the node, or may leave it because
 * its device has no role. What a tunnel or a VRF sends passes again, and is accounted then. A
 * packet that came in by an uplink was already accounted by its sender if that is a node with an
 * agent; only user space knows, and sets skip_inbound. Without it the reason is
 * KZN_INBOUND_IN_FLOWS.
 */
static __always_inline enum total classify_direction(struct control *ctl, const struct sk_buff *skb,
						     const struct nf_hook_state *state)
{
	__u32 index = state->out->ifindex, out, in;

	if (awaits_ipsec(skb))
		return TOTAL_IGNORED_TUNNEL;
	if (is_uplink(ctl, index))
		return TOTAL_SEEN;
	out = device_role(index);
	if (out & (KZN_DEVICE_TUNNEL | KZN_DEVICE_PASSES_AGAIN))
		return TOTAL_IGNORED_TUNNEL;
	if (!(out & KZN_DEVICE_STAYS) || is_unattended(ctl))
		return TOTAL_SEEN;
	if (!state->in)
		return TOTAL_IGNORED_LOCAL;
	in = device_role(state->in->ifindex);
	if (in & KZN_DEVICE_STAYS)
		return TOTAL_IGNORED_LOCAL;
	return ctl->skip_inbound && in & KZN_DEVICE_ENTRY ? TOTAL_IGNORED_INBOUND
							  : KZN_INBOUND_IN_FLOWS;
}

/* The device that a packet came in by; 0 for what this host sends. */
static __always_inline __u32 input_index(const struct nf_hook_state *state)
{
	return state->in ? state->in->ifindex : 0;
}

/* False for a packet that certainly did not pass a tunnel device before; costs no lookup. */
static __always_inline bool is_in_by_tunnel(const struct control *ctl,
					    const struct nf_hook_state *state)
{
	return state->in && may_be_tunnel(ctl, state->in->ifindex);
}

/* The role of the input device; what this host sends comes in by none, and from the node. A tunnel
 * device is the input device of what it encapsulated (by ip_output) and of what it decapsulated.
 * The packet before encapsulation was ignored.
 */
static __always_inline __u32 input_role(const struct nf_hook_state *state)
{
	return state->in ? device_role(state->in->ifindex) : KZN_DEVICE_STAYS;
}

#endif
