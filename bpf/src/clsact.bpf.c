// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* clsact egress of an uplink, for kernels without tcx: counts every IP packet that leaves the node
 * by it. */
#include "kernel_types.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "flow.h"
#include "account.bpf.h"
#include "protocols.bpf.h"
#include "tc.bpf.h"
#include "overlay.bpf.h"
#include "egress.bpf.h"

SEC("tc")
int clsact_egress(struct __sk_buff *ctx)
{
	return account_egress(ctx);
}

char LICENSE[] SEC("license") = "GPL";
