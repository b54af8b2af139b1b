/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Where a packet at a netfilter hook goes: out by an uplink, into a tunnel, or to a local device.
 */
#ifndef KZN_NETFILTER_UPLINKS_BPF_H
#define KZN_NETFILTER_UPLINKS_BPF_H

/* The index of an uplink with its flags, 0 for another device. */
static __always_inline __u32 find_uplink(const struct control *ctl, __u32 index)
{
	__u32 i;

	for (i = 0; i < KZN_MAX_UPLINKS; i++) {
		if (i >= ctl->uplinks)
			return 0;
		if ((ctl->uplink[i] & ~KZN_UPLINK_FLAGS) == index)
			return ctl->uplink[i];
	}
	return 0;
}

/* IPsec without a device: the packet passes again after encryption, and is accounted then. */
static __always_inline bool awaits_ipsec(const struct sk_buff *skb)
{
	const struct dst_entry *dst;

	dst = kernel_cast(struct dst_entry, skb->_skb_refdst & ~SKB_DST_NOREF);
	return bpf_core_field_exists(dst->xfrm) && dst->xfrm;
}

/* The reason for account(): TOTAL_SEEN for a packet that leaves the node, or may leave it because
 * the uplinks are unknown. A packet that enters a tunnel passes again encapsulated, and is
 * accounted then. A packet that came in by an uplink was already accounted by its sender if that is
 * a node with an agent; only user space knows, and sets skip_inbound. Without it the reason is
 * KZN_INBOUND_IN_FLOWS.
 */
static __always_inline enum total classify_direction(const struct control *ctl,
						     const struct sk_buff *skb,
						     const struct nf_hook_state *state)
{
	__u32 out;

	if (awaits_ipsec(skb))
		return TOTAL_IGNORED_TUNNEL;
	if (!ctl->uplinks)
		return TOTAL_SEEN;
	out = find_uplink(ctl, state->out->ifindex);
	if (out)
		return out & KZN_TUNNEL ? TOTAL_IGNORED_TUNNEL : TOTAL_SEEN;
	if (!state->in || !find_uplink(ctl, state->in->ifindex))
		return TOTAL_IGNORED_LOCAL;
	return ctl->skip_inbound ? TOTAL_IGNORED_INBOUND : KZN_INBOUND_IN_FLOWS;
}

/* KZN_UPLINK_FLAGS of the tunnel device that encapsulated the packet, 0 for none. ip_output sets
 * that device as the input device. The packet before encapsulation was ignored.
 */
static __always_inline __u32 tunnel_flags(const struct control *ctl,
					  const struct nf_hook_state *state)
{
	if (!ctl->uplinks || !state->in)
		return 0;
	return find_uplink(ctl, state->in->ifindex) & KZN_UPLINK_FLAGS;
}

#endif
