// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What a measured tc program is called by, and the program that does nothing. */
#include <linux/pkt_cls.h>

#include "restore.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* A verdict that no measured program gives: the tail call failed. */
#define VERDICT_NO_SUBJECT 99

SEC("tc")
int entry(struct __sk_buff *skb)
{
	if (!restore((void *)(long)skb->data, (void *)(long)skb->data_end))
		return VERDICT_NO_SUBJECT;
	bpf_tail_call(skb, &subject, 0);
	return VERDICT_NO_SUBJECT;
}

SEC("tc")
int pass(struct __sk_buff *skb __attribute__((unused)))
{
	return TC_ACT_UNSPEC;
}
