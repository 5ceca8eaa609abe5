/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the server and the client of the counters say to each other. */
#include <linux/types.h>

#define COUNTER_ADD	1u	/* add amount to the caller's counter, and tell it */
#define COUNTER_STOP	2u	/* end the server, for its own user */

struct counter_request {
	__u32 what;
	__u32 reserved;
	__u64 amount;
};

struct counter_reply {
	__s32 error; /* 0 or an errno */
	__u32 uid;   /* whose counter it is */
	__u64 value;
};
