// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The overhead of a test run: a program that does nothing. */
#include "kernel_types.h"

#include <bpf/bpf_helpers.h>

SEC("netfilter")
int empty(struct bpf_nf_ctx *ctx)
{
	(void)ctx;
	return NF_ACCEPT;
}

char LICENSE[] SEC("license") = "GPL";
