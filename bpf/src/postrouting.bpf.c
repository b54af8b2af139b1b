// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Netfilter POSTROUTING, one program for each address family: accounts every packet that passes. */
#include "kernel_types.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include "flow.h"
#include "account.bpf.h"
#include "protocols.bpf.h"
#include "endpoints.bpf.h"
#include "netfilter/parse.bpf.h"
#include "netfilter/measure.bpf.h"
#include "netfilter/uplinks.bpf.h"
#include "netfilter/inner.bpf.h"
#include "netfilter/initiator.bpf.h"
#include "netfilter/plain.bpf.h"
#include "netfilter/account.bpf.h"

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
