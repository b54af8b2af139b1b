/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Packets that do not leave the node: when the uplinks are known, what goes to no uplink stays. */
#ifndef KZN_UPLINK_BPF_H
#define KZN_UPLINK_BPF_H

static __always_inline bool is_uplink(const struct control *ctl, __u32 index)
{
	__u32 i;

	for (i = 0; i < KZN_MAX_UPLINKS; i++) {
		if (i >= ctl->uplinks)
			return false;
		if (ctl->uplink[i] == index)
			return true;
	}
	return false;
}

/* TOTAL_SEEN for what leaves the node, or may: unknown uplinks decide nothing. What came in by an
 * uplink was counted where it was sent, if its sender is a node with an agent; only user space can
 * know that, and says so by skip_inbound.
 */
static __always_inline enum total stays(const struct control *ctl,
					const struct nf_hook_state *state)
{
	if (!ctl->uplinks || is_uplink(ctl, state->out->ifindex))
		return TOTAL_SEEN;
	if (!state->in || !is_uplink(ctl, state->in->ifindex))
		return TOTAL_IGNORED_LOCAL;
	return ctl->skip_inbound ? TOTAL_IGNORED_INBOUND : TOTAL_SEEN;
}

#endif
