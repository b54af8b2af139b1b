// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* tcx egress of an uplink: accounts every IP packet that leaves the node through it. */
#include "kernel_types.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "flow.h"
#include "account.bpf.h"
#include "protocols.bpf.h"
#include "endpoints.bpf.h"
#include "tc/parse.bpf.h"
#include "tc/measure.bpf.h"
#include "tc/overlay.bpf.h"
#include "tc/initiator.bpf.h"
#include "tc/plain.bpf.h"
#include "tc/account.bpf.h"

SEC("tc")
int tcx_egress(struct __sk_buff *ctx)
{
	return account_egress(ctx, ETHERNET_HEADER);
}

/* For devices without a header of their own: tun, PPP, WireGuard, IP tunnels. */
SEC("tc")
int tcx_headerless(struct __sk_buff *ctx)
{
	return account_egress(ctx, 0);
}

char LICENSE[] SEC("license") = "GPL";
