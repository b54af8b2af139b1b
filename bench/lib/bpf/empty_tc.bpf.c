// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The overhead of a test run at tc: a program that does nothing. */
#include "kernel_types.h"

#include <bpf/bpf_helpers.h>

SEC("tc")
int empty_tc(struct __sk_buff *ctx)
{
	(void)ctx;
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "GPL";
