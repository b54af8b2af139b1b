/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Packets that do not leave the node: when the uplinks are known, what goes to no uplink stays. */
#ifndef KZN_UPLINK_BPF_H
#define KZN_UPLINK_BPF_H

/* The index of an uplink with its marks, 0 for another device. */
static __always_inline __u32 uplink(const struct control *ctl, __u32 index)
{
	__u32 i;

	for (i = 0; i < KZN_MAX_UPLINKS; i++) {
		if (i >= ctl->uplinks)
			return 0;
		if ((ctl->uplink[i] & ~KZN_MARKS) == index)
			return ctl->uplink[i];
	}
	return 0;
}

/* IPsec without a device: the packet passes again when it is wrapped up, and is counted then. */
static __always_inline bool is_to_be_wrapped(const struct sk_buff *skb)
{
	const struct dst_entry *road;

	road = kernel_cast(struct dst_entry, skb->_skb_refdst & ~SKB_DST_NOREF);
	return bpf_core_field_exists(road->xfrm) && road->xfrm;
}

/* TOTAL_SEEN for what leaves the node, or may: unknown uplinks decide nothing. KZN_ARRIVED for what
 * came in and makes a flow too. What goes into a tunnel passes again, wrapped up, and is counted
 * then. What came in by an uplink was counted where it was sent, if its sender is a node with an
 * agent; only user space can know that, and says so by skip_inbound.
 */
static __always_inline enum total stays(const struct control *ctl, const struct sk_buff *skb,
					const struct nf_hook_state *state)
{
	__u32 out;

	if (is_to_be_wrapped(skb))
		return TOTAL_IGNORED_TUNNEL;
	if (!ctl->uplinks)
		return TOTAL_SEEN;
	out = uplink(ctl, state->out->ifindex);
	if (out)
		return out & KZN_TUNNEL ? TOTAL_IGNORED_TUNNEL : TOTAL_SEEN;
	if (!state->in || !uplink(ctl, state->in->ifindex))
		return TOTAL_IGNORED_LOCAL;
	return ctl->skip_inbound ? TOTAL_IGNORED_INBOUND : KZN_ARRIVED;
}

/* The marks of the tunnel's device that the packet comes out of (ip_output gives that as the one it
 * came in by): this node has wrapped it up, and what went in was ignored.
 */
static __always_inline __u32 wrapped_by(const struct control *ctl,
					const struct nf_hook_state *state)
{
	return ctl->uplinks && state->in ? uplink(ctl, state->in->ifindex) & KZN_MARKS : 0;
}

#endif
