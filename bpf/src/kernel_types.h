/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The kernel structs that the programs read, reduced to the fields used.
 *
 * libbpf relocates structs under preserve_access_index at load (CO-RE), so that only names and
 * types matter here. Protocol headers at the end are fixed by their RFCs and not relocated.
 */
#ifndef KZN_KERNEL_TYPES_H
#define KZN_KERNEL_TYPES_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed int __s32;
typedef signed long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u16 __sum16;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0

#define NF_ACCEPT 1
#define TC_ACT_UNSPEC (-1) /* continue with the next program; equal to TCX_NEXT */

#define E2BIG 7
#define ENOMEM 12
#define EEXIST 17

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
};
#define BPF_F_NO_PREALLOC 1
#define BPF_F_MMAPABLE (1 << 10)
#define BPF_NOEXIST 1

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct net_device {
	int ifindex;
	unsigned int mtu;
	unsigned short type; /* ARPHRD_* */
};

struct nf_hook_state {
	struct net_device *in; /* NULL for packets that this host sends */
	struct net_device *out;
};

/* IP's part of skb->cb, by address family. */
struct inet_skb_parm {
	__u16 frag_max_size;
};

struct inet6_skb_parm {
	__u16 frag_max_size;
};

struct sk_buff {
	char cb[48];
	unsigned int len;
	unsigned int data_len;
	unsigned char *head;
	unsigned char *data;
	unsigned int end; /* on 64-bit kernels an offset from head */
	__u16 inner_transport_header; /* offsets from head */
	__u16 inner_network_header; /* 0 unless encapsulated */
	__u16 network_header;
	__u16 mac_header;
	unsigned long _nfct; /* struct nf_conn * | enum ip_conntrack_info */
	unsigned long _skb_refdst; /* struct dst_entry * | SKB_DST_NOREF */
};

struct dst_entry {
	struct xfrm_state *xfrm; /* the IPsec transform to apply, if any */
};

struct skb_shared_info {
	unsigned short gso_size;
	unsigned short gso_segs;
	unsigned int gso_type;
};

struct rtnl_link_stats64 { /* read for its 64-bit words (netfilter/plain.bpf.h) */
	__u64 rx_packets;
	__u64 tx_packets;
	__u64 rx_bytes;
	__u64 tx_bytes;
	__u64 rx_errors;
	__u64 tx_errors;
};

struct bpf_nf_ctx {
	const struct nf_hook_state *state;
	struct sk_buff *skb;
};

#pragma clang attribute pop

/* include/uapi/linux/bpf.h: the context of a tc program. UAPI, hence not relocated; the verifier
 * rewrites each access into one to sk_buff.
 */
struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol; /* EtherType, big-endian */
	__u32 before_ingress[4];
	__u32 ingress_ifindex; /* of the device that the packet came in by; 0 if it was made here */
	__u32 before_data[9];
	__u32 data;
	__u32 data_end;
	__u32 before_flow_keys[15];
	__u64 flow_keys;
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs;
	union {
		struct bpf_sock *sk;
		__u64 padding; /* pointers of this target and of the kernel's have 8 bytes */
	};
	__u32 gso_size;
};
_Static_assert(__builtin_offsetof(struct __sk_buff, ingress_ifindex) == 36, "as in the kernel's");
_Static_assert(__builtin_offsetof(struct __sk_buff, gso_size) == 176, "as in the kernel's");

/* The same for a socket, and the address and ports that one is looked up by. */
struct bpf_sock {
	__u32 before_src_ip4[6];
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port; /* host byte order */
	__u32 before_state[6];
	__u32 state;
	__s32 rx_queue_mapping;
};
_Static_assert(__builtin_offsetof(struct bpf_sock, state) == 72, "as in the kernel's");
#define BPF_TCP_LISTEN 10
#define BPF_SOCK_TUPLE4 12 /* sizes of both kinds of struct bpf_sock_tuple */
#define BPF_SOCK_TUPLE6 36
#define BPF_F_CURRENT_NETNS (-1L)

struct bpf_dynptr {
	__u64 opaque[2];
} __attribute__((aligned(8)));

/* include/linux/skbuff.h: anonymous enums, hence constants. */
#define SKB_GSO_TCPV4 (1 << 0)
#define SKB_GSO_TCPV6 (1 << 4)
#define SKB_GSO_GRE (1 << 6)
#define SKB_GSO_GRE_CSUM (1 << 7)
#define SKB_GSO_IPXIP4 (1 << 8)
#define SKB_GSO_IPXIP6 (1 << 9)
#define SKB_GSO_UDP_TUNNEL (1 << 10)
#define SKB_GSO_UDP_TUNNEL_CSUM (1 << 11)
#define SKB_GSO_UDP_L4 (1 << 17)

/* include/uapi/linux/netfilter/nf_conntrack_common.h */
#define NFCT_INFOMASK 7
#define IP_CT_IS_REPLY 3
#define IP_CT_UNTRACKED 7

#define SKB_DST_NOREF 1ul /* include/linux/skbuff.h */

#define LOOPBACK_IFINDEX 1 /* in every network namespace */

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define ETH_P_TEB 0x6558 /* payload is an Ethernet frame */
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define ETH_P_MPLS_UC 0x8847
#define ETH_P_MPLS_MC 0x8848
#define ETH_P_PPP_SES 0x8864

#define ARPHRD_ETHER 1

#define IPPROTO_HOPOPTS 0
#define IPPROTO_IPIP 4
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_DCCP 33
#define IPPROTO_IPV6 41
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_GRE 47
#define IPPROTO_ESP 50
#define IPPROTO_AH 51
#define IPPROTO_DSTOPTS 60
#define IPPROTO_SCTP 132
#define IPPROTO_UDPLITE 136

struct iphdr { /* RFC 791 */
	__u8 version_ihl;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__sum16 check;
	__be32 saddr;
	__be32 daddr;
};
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff

struct ipv6hdr { /* RFC 8200 */
	__u8 version_priority;
	__u8 flow_lbl[3];
	__be16 payload_len;
	__u8 nexthdr;
	__u8 hop_limit;
	__u64 saddr[2];
	__u64 daddr[2];
};

#define TCP_FIN 0x01 /* flags of a TCP header */
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define SCTP_INIT 1 /* types of an SCTP chunk, RFC 9260 */
#define SCTP_INIT_ACK 2

struct ipv6_opt_hdr { /* also the first bytes of a fragment header and of AH */
	__u8 nexthdr;
	__u8 hdrlen;
	__be16 frag_off;
};

struct tcphdr { /* RFC 9293 */
	__be16 source;
	__be16 dest;
	__be32 seq;
	__be32 ack_seq;
	__u8 doff_res;
	__u8 flags;
	__be16 window;
	__sum16 check;
	__be16 urg_ptr;
};

#endif
