// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Netfilter POSTROUTING, one program for each family: counts every packet that leaves. */
#include "kernel_types.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include "flow.h"
#include "account.bpf.h"
#include "protocols.bpf.h"
#include "parse.bpf.h"
#include "measure.bpf.h"
#include "uplink.bpf.h"
#include "inner.bpf.h"
#include "netfilter.bpf.h"

SEC("netfilter")
int postrouting_ipv4(struct bpf_nf_ctx *ctx)
{
	account_ipv4(ctx);
	return NF_ACCEPT;
}

SEC("netfilter")
int postrouting_ipv6(struct bpf_nf_ctx *ctx)
{
	account_ipv6(ctx);
	return NF_ACCEPT;
}

char LICENSE[] SEC("license") = "GPL";
