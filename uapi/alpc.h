/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * ALPC for Linux: asynchronous local procedure call ports.
 *
 * This header is the only hand-written statement of the ABI. The reference,
 * with every errno and outcome of every ioctl, is alpc.rst beside it.
 *
 * Every argument structure has fixed-width, naturally aligned fields, no
 * padding, and one layout for 32-bit and 64-bit callers. Pointers travel as
 * __u64. A structure grows only at its end: the size encoded in the ioctl
 * number says which version the caller knows. A larger one than the kernel
 * knows is accepted when the unknown tail is zero (else E2BIG), a smaller one
 * is extended with zeroes. Unknown flags and non-zero reserved fields are
 * refused with EINVAL.
 */
#ifndef _UAPI_LINUX_ALPC_H
#define _UAPI_LINUX_ALPC_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Version 0 may still change without notice. */
#define ALPC_ABI_VERSION	0

/* ------------------------------------------------------------------ limits */

#define ALPC_NAME_MAX		255	/* bytes of a port name, no NUL */
#define ALPC_ACL_MAX		256	/* entries of an access control list */
#define ALPC_MESSAGE_DEFAULT	4096	/* default maximum payload in bytes */
#define ALPC_MESSAGE_MAX	65536	/* largest payload a port may allow */
#define ALPC_LPC_MESSAGE_MAX	256	/* largest payload of an LPC-mode port */
#define ALPC_CALLBACK_DEPTH_MAX	64	/* nested calls in one conversation */
#define ALPC_SECTION_MAX	67108864	/* bytes of a section, and of a view */
#define ALPC_SECTION_VIEWS_MAX	256	/* views of a section */
#define ALPC_VIEWS_LENT_MAX	256	/* views lent to one side of a connection */
#define ALPC_WINDOW_ROOM	0x40000000u	/* bytes of views that clients have lent to a port */
#define ALPC_WINDOW_VIEWS_MAX	4096	/* views in as much, each at least its share */
#define ALPC_WINDOW_SIZE	0x200000000ull	/* addresses for them: a gap for each */
#define ALPC_HANDLES_MAX	512	/* handles of one message */
#define ALPC_MEMORY_RANGES_MAX	64	/* ranges of caller memory of one message */
#define ALPC_LABEL_MAX		4095	/* bytes of a required label */
#define ALPC_CONTEXTS_MAX	64	/* security contexts of one side of a connection */
#define ALPC_TOLD_DEFAULT	8388608	/* memory of what a server has sent, by default */

/* -------------------------------------------------------------- port flags */

/* Synchronous and one-way messages of at most ALPC_LPC_MESSAGE_MAX bytes. */
#define ALPC_PORT_LPC_MODE	0x00001000u
/* Serve messages in strict order of arrival, not connections in turn. */
#define ALPC_PORT_ARRIVAL_ORDER	0x00000001u
/* The acl fields are present: without this flag only the owner connects. */
#define ALPC_PORT_ACL		0x00000002u

/* ------------------------------------------- access control lists, accepts */

/*
 * What a client may do. All rights are settled when it connects, and are the
 * connection's from then on.
 */
#define ALPC_RIGHT_CONNECT	0x00000001u	/* connect */
#define ALPC_RIGHT_VIEW		0x00000002u	/* lend views to the server */
#define ALPC_RIGHT_HANDLE	0x00000004u	/* send handles to the server */
#define ALPC_RIGHT_MEMORY	0x00000008u	/* offer caller memory to the server */
#define ALPC_RIGHT_IMPERSONATE	0x00000010u	/* be impersonated by the server */
#define ALPC_RIGHT_CALLBACK	0x00000020u	/* have a thread of the server wait for it */
#define ALPC_RIGHT_ALL		0x0000003fu	/* all of these */

#define ALPC_ACL_ALLOW		1u
#define ALPC_ACL_DENY		2u

#define ALPC_ACL_USER		1u	/* effective user id equals id */
#define ALPC_ACL_GROUP		2u	/* effective or supplementary group */
#define ALPC_ACL_EVERYONE	3u	/* id must be 0 */
#define ALPC_ACL_OWNER		4u	/* the same user as who made the port; id must be 0 */
#define ALPC_ACL_USER_NS	5u	/* the user namespace of who made the port; id must be 0 */

/**
 * struct alpc_acl_entry - one entry of an access control list
 * @type: ALPC_ACL_ALLOW or ALPC_ACL_DENY.
 * @who: ALPC_ACL_USER, ALPC_ACL_GROUP, ALPC_ACL_EVERYONE, ALPC_ACL_OWNER or
 *	ALPC_ACL_USER_NS.
 * @id: User or group id in the caller's user namespace; else 0.
 * @rights: ALPC_RIGHT_* the entry settles. Entries are read in order, and a
 *	right is settled by the first matching entry that names it. A right
 *	that no entry settles is denied.
 * @reserved: Zero.
 */
struct alpc_acl_entry {
	__u16 type;
	__u16 who;
	__u32 id;
	__u32 rights;
	__u32 reserved;
};

/*
 * What a port takes from its peers beside payload. A send of what the other
 * side does not take fails with NOT_TAKEN.
 */
#define ALPC_TAKE_VIEWS		0x00000001u
#define ALPC_TAKE_HANDLES	0x00000002u	/* of the kinds in handle_kinds */
#define ALPC_TAKE_MEMORY	0x00000004u
#define ALPC_TAKE_SECURITY	0x00000008u	/* security contexts */
#define ALPC_TAKE_DIRECT	0x00000010u	/* reserved, EOPNOTSUPP */
#define ALPC_TAKE_IDENTITY	0x00000020u	/* cgroup, audit session: servers only */

/*
 * The kinds of file that can be sent as handles. There is none for anything
 * else: not for AF_UNIX sockets, io_uring instances, epoll instances or ALPC
 * ports, each of which could hold the message that it is sent with.
 */
#define ALPC_HANDLE_FILE	0x00000001u	/* regular file */
#define ALPC_HANDLE_DIRECTORY	0x00000002u
#define ALPC_HANDLE_PIPE	0x00000004u	/* pipe or FIFO */
#define ALPC_HANDLE_EVENTFD	0x00000008u
#define ALPC_HANDLE_TIMERFD	0x00000010u
#define ALPC_HANDLE_MEMFD	0x00000020u
#define ALPC_HANDLE_PIDFD	0x00000040u
#define ALPC_HANDLE_SOCKET	0x00000080u	/* AF_INET, AF_INET6, AF_NETLINK, AF_VSOCK */
#define ALPC_HANDLE_SECTION	0x00000100u	/* ALPC section */
/* Those below are taken only if they are named. */
#define ALPC_HANDLE_DEVICE	0x00000200u	/* character or block device, of a few drivers */
#define ALPC_HANDLE_PATH	0x00000400u	/* of O_PATH, whatever is there */
#define ALPC_HANDLE_NAMESPACE	0x00000800u	/* of any type but mount */
#define ALPC_HANDLE_DMA_BUF	0x00001000u	/* of udmabuf and the system heap */
#define ALPC_HANDLE_NTSYNC	0x00002000u	/* event, mutex or semaphore of ntsync */

/* ---------------------------------------------------------------- security */

/* How far the receiver of a message may go with its sender's identity. */
#define ALPC_SECURITY_DEFAULT		0u	/* ALPC_SECURITY_IDENTIFY */
#define ALPC_SECURITY_ANONYMOUS		1u	/* it learns nothing of it */
#define ALPC_SECURITY_IDENTIFY		2u	/* it learns who that is */
#define ALPC_SECURITY_IMPERSONATE	3u	/* it may use files as if it were that */
#define ALPC_SECURITY_LEVEL_MASK	0x00000003u
/* Not who connected or made the context: who sends, at each send. */
#define ALPC_SECURITY_DYNAMIC		0x00000004u
/* Only capabilities that are effective, not those that could be made so. */
#define ALPC_SECURITY_EFFECTIVE_ONLY	0x00000008u

/* ---------------------------------------------------------- message types */

#define ALPC_TYPE_REQUEST		1u	/* a request or callback: an answer is owed */
#define ALPC_TYPE_REPLY			2u	/* answer to a request or callback */
#define ALPC_TYPE_DATAGRAM		3u	/* one-way: nothing can be replied */
#define ALPC_TYPE_LOST_REPLY		4u	/* notice: no reply will come */
#define ALPC_TYPE_PORT_CLOSED		5u	/* notice: the client has gone */
#define ALPC_TYPE_CLIENT_DIED		6u	/* notice, reserved */
#define ALPC_TYPE_CONNECTION_REQUEST	10u	/* accept or refuse it */
#define ALPC_TYPE_CONNECTION_REPLY	11u	/* the connection was accepted */
#define ALPC_TYPE_CANCELED		12u	/* notice: the held request is void */
#define ALPC_TYPE_CONNECTION_REFUSED	13u	/* the connection was refused */

/* The conversation is open: the receiver owes an answer or a release. */
#define ALPC_TYPE_FLAG_CONTINUATION	0x2000u

/* ---------------------------------------------------------------- outcomes */

/*
 * What happened, finer than errno. The errno that goes with each is in the
 * comment; ALPC_OUTCOME_OK goes with success. A receive of the next message on a
 * descriptor with O_NONBLOCK never waits: it fails with EAGAIN in the place of
 * ETIMEDOUT, and TIMED_OUT or TIMED_OUT_SENT.
 */
#define ALPC_OUTCOME_OK			0u
#define ALPC_OUTCOME_REFUSED		1u	/* ECONNREFUSED: the server refused */
#define ALPC_OUTCOME_NOT_CONNECTED	2u	/* ENOTCONN: not accepted yet */
#define ALPC_OUTCOME_DISCONNECTED	3u	/* EPIPE: the peer ended the connection */
#define ALPC_OUTCOME_CLOSED		4u	/* ESHUTDOWN: this port was disconnected */
#define ALPC_OUTCOME_LOST		5u	/* ECONNRESET: received, but no reply will come */
#define ALPC_OUTCOME_CANCELED		6u	/* ECANCELED: the request was cancelled */
#define ALPC_OUTCOME_ALREADY_RECEIVED	7u	/* EALREADY, or success of a plain cancel */
#define ALPC_OUTCOME_TIMED_OUT		8u	/* ETIMEDOUT: nothing sent, nothing received; of memory, see @done */
#define ALPC_OUTCOME_TIMED_OUT_SENT	9u	/* ETIMEDOUT: sent, nothing received */
#define ALPC_OUTCOME_INTERRUPTED	10u	/* EINTR: nothing sent, nothing received */
#define ALPC_OUTCOME_INTERRUPTED_SENT	11u	/* EINTR: sent, the request lives on */
#define ALPC_OUTCOME_NOT_FOUND		12u	/* ENOENT: no such conversation */
#define ALPC_OUTCOME_NOT_OWNER		13u	/* EPERM: the other side has the turn */
#define ALPC_OUTCOME_STALE_TURN		14u	/* ESTALE: not the header received last */
#define ALPC_OUTCOME_WRONG_KIND		15u	/* EPROTO: not that kind of conversation */
#define ALPC_OUTCOME_BUFFER_TOO_SMALL	16u	/* ENOBUFS: recv_length says how much */
#define ALPC_OUTCOME_TOO_LONG		17u	/* EMSGSIZE: above the port's maximum */
#define ALPC_OUTCOME_QUEUE_FULL		18u	/* EAGAIN: the share of the queue is full */
#define ALPC_OUTCOME_LIMIT		19u	/* EDQUOT: a per-user or per-port limit */
#define ALPC_OUTCOME_NAME_IN_USE	20u	/* EADDRINUSE */
#define ALPC_OUTCOME_NAME_NOT_FOUND	21u	/* ENOENT: no port of that name */
#define ALPC_OUTCOME_ACCESS_DENIED	22u	/* EACCES: an ACL or a rule says no */
#define ALPC_OUTCOME_SERVER_MISMATCH	23u	/* EACCES: not the required server */
#define ALPC_OUTCOME_TOO_DEEP		24u	/* ELOOP: ALPC_CALLBACK_DEPTH_MAX */
#define ALPC_OUTCOME_NOT_TAKEN		25u	/* EOPNOTSUPP: the other side takes no such thing */
#define ALPC_OUTCOME_BAD_HANDLE		26u	/* EBADF, EPERM: index and kind say which */
#define ALPC_OUTCOME_LENT		27u	/* EBUSY: the view is lent already */
#define ALPC_OUTCOME_NOT_A_VIEW		28u	/* ENXIO: no view begins at that address */
#define ALPC_OUTCOME_NO_WINDOW		29u	/* ENOBUFS: no room for received views, release some */
#define ALPC_OUTCOME_MEMORY_CLOSED	30u	/* ESTALE: the caller does not wait in its call */
#define ALPC_OUTCOME_RECEIVER_MISMATCH	31u	/* EACCES: received by none it was for */
#define ALPC_OUTCOME_SENDER_GONE	32u	/* ESRCH: it has ended, or does not wait */
#define ALPC_OUTCOME_NOT_A_CONTEXT	33u	/* ENXIO: no security context has that id */
#define ALPC_OUTCOME_REVOKED		34u	/* ESTALE: the security context is revoked */
#define ALPC_OUTCOME_NOT_GRANTED	35u	/* EACCES: the sender doesn't let itself be impersonated */
#define ALPC_OUTCOME_BEYOND_REACH	36u	/* EPERM: the caller couldn't become that by itself */
#define ALPC_OUTCOME_NO_CLIENTS		37u	/* ENOLINK: nobody can reach the port any more */
#define ALPC_OUTCOME_TOO_LONG_FOR_REPLY	38u	/* EMSGSIZE: nobody waits, and there is less room for it */

/* ---------------------------------------------------------------- timeouts */

/*
 * How the timeout field is read: two-valued bits inside a flags word. An
 * expired absolute time and a relative zero never block.
 */
#define ALPC_TIMEOUT_MASK		0x00000007u
#define ALPC_TIMEOUT_INFINITE		0u	/* timeout must be 0 */
#define ALPC_TIMEOUT_RELATIVE		1u	/* nanoseconds from now */
#define ALPC_TIMEOUT_MONOTONIC		2u	/* absolute, CLOCK_MONOTONIC */
#define ALPC_TIMEOUT_BOOTTIME		3u	/* absolute, CLOCK_BOOTTIME */
#define ALPC_TIMEOUT_REALTIME		4u	/* absolute, CLOCK_REALTIME, follows clock steps */

/* ------------------------------------------------------ message attributes */

/*
 * An attribute container is struct alpc_attributes followed directly by one
 * structure for each allocated bit, highest bit first.
 */
#define ALPC_ATTR_SECURITY		0x80000000u
#define ALPC_ATTR_VIEW			0x40000000u
#define ALPC_ATTR_CONTEXT		0x20000000u
#define ALPC_ATTR_HANDLE		0x10000000u
#define ALPC_ATTR_TOKEN			0x08000000u	/* receive only */
#define ALPC_ATTR_DIRECT		0x04000000u	/* reserved, EOPNOTSUPP */
#define ALPC_ATTR_WORK_ON_BEHALF	0x02000000u	/* reserved, EOPNOTSUPP */
#define ALPC_ATTR_MEMORY		0x01000000u
#define ALPC_ATTR_RECEIVER		0x00800000u	/* send only */

/**
 * struct alpc_attributes - head of an attribute container
 * @allocated: ALPC_ATTR_* for which a structure follows.
 * @valid: Subset of @allocated. Sending: the attributes that travel.
 *	Receiving: written by the kernel, the attributes it filled in.
 */
struct alpc_attributes {
	__u32 allocated;
	__u32 valid;
};

/* Send: make a context, which is kept, and use it. */
#define ALPC_SECURITY_CREATE		0x00000001u
/* Send: make one for this message only. */
#define ALPC_SECURITY_ONCE		0x00000002u
/* Send: the named context is deleted if the message is sent. */
#define ALPC_SECURITY_DELETE		0x00000004u
/* Receive: the context has been revoked. */
#define ALPC_SECURITY_REVOKED		0x00000008u

/**
 * struct alpc_attr_security - the SECURITY attribute
 * @context: Send: a context of the sending side; 0 with ALPC_SECURITY_CREATE, out:
 *	the new one, and 0 with ALPC_SECURITY_ONCE. Receive, out: the number that the
 *	sender knows it by, 0 if it was made for the message.
 * @security: Send: with ALPC_SECURITY_CREATE or ALPC_SECURITY_ONCE, its level and
 *	flags; else 0. Receive, out: its level and flags.
 * @flags: Send: one of ALPC_SECURITY_CREATE, ALPC_SECURITY_ONCE and
 *	ALPC_SECURITY_DELETE, or 0. Receive, out: ALPC_SECURITY_REVOKED or 0.
 *
 * Filled in on receive only if the message has it.
 */
struct alpc_attr_security {
	__u64 context;
	__u32 security;
	__u32 flags;
};

/**
 * struct alpc_attr_context - the CONTEXT attribute
 * @port_context: Out: the receiving side's context value of the connection.
 *	Ignored on send.
 * @message_context: The receiving side's own value for this conversation.
 *	On send: the value to give back to this side with every later message
 *	of the conversation. 0 until it is set.
 * @id: Out: the conversation. Ignored on send.
 * @sequence: Out: number of the message among all that arrived on this side
 *	of the port, from 1; messages dropped unreceived leave gaps.
 *	Ignored on send.
 * @callback_id: Out: the turn. Ignored on send.
 * @reserved: Zero.
 */
struct alpc_attr_context {
	__u64 port_context;
	__u64 message_context;
	__u64 id;
	__u64 sequence;
	__u32 callback_id;
	__u32 reserved;
};

/* The sender can't touch the bytes until the receiver releases the view. */
#define ALPC_VIEW_SECURE		0x00000001u
/* The message deletes the sender's view. It stays if nothing is sent. */
#define ALPC_VIEW_AUTO_RELEASE		0x00000002u

/**
 * struct alpc_attr_view - the VIEW attribute
 * @base: Send: address at which a view of the sender's begins, or 0 to lend
 *	none. Receive, out: address at which the receiver reads it.
 * @size: In bytes. Send: how much of the view is lent, from its beginning; 0
 *	exactly if @base is 0. Receive, out: the same. What else is in its last
 *	page can be seen as well.
 * @release: Send: address of a received view that the sender gives up with
 *	this message, or 0. It is held still if nothing is sent. Receive, out: 0.
 * @flags: Send: ALPC_VIEW_*. Receive, out: ALPC_VIEW_SECURE or 0.
 * @reserved: Zero.
 *
 * Filled in on receive only if the message has a view, which the receiver has
 * then to release. A receiver that has not allocated the attribute releases it
 * by receiving.
 */
struct alpc_attr_view {
	__u64 base;
	__u64 size;
	__u64 release;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct alpc_handle - one handle of a message
 * @fd: Send: descriptor. Receive and claim, out: the new descriptor, or -1.
 * @kind: Send: the ALPC_HANDLE_* it must be, or 0; when it is refused, out: what
 *	it is, or 0 if it is of no kind. Receive and claim, out: what it is.
 */
struct alpc_handle {
	__s32 fd;
	__u32 kind;
};

/* Receive: install the handles at once, as ALPC_IOC_CLAIM does. */
#define ALPC_HANDLES_CLAIM		0x00000001u
/* Claimed descriptors are not close-on-exec. */
#define ALPC_HANDLES_INHERIT		0x00000002u

/**
 * struct alpc_attr_handle - the HANDLE attribute
 * @handles: Pointer to @count struct alpc_handle; receiving, 0 with a count of 0.
 * @count: Send: 1 to ALPC_HANDLES_MAX. Receive, in: how many entries there is
 *	room for; out: how many handles the message has, which may be more.
 * @flags: Send: 0. Receive: ALPC_HANDLES_*.
 * @index: Send: when a handle is refused, out: which. Receive, out: how many
 *	were installed.
 * @error: Send: ignored. Receive, out: the errno that ended installing, or 0.
 *
 * Filled in on receive only if the message has handles. Those not installed at
 * receive can be claimed by ALPC_IOC_CLAIM while the conversation is held, which
 * that of a one-way message or a final reply never is.
 */
struct alpc_attr_handle {
	__u64 handles;
	__u32 count;
	__u32 flags;
	__u32 index;
	__u32 error;
};

/**
 * struct alpc_attr_token - the TOKEN attribute
 * @token_id: Out: the sender's process.
 * @session_id: Out: its audit session, told as in struct alpc_query_identity:
 *	0xffffffff if there is none or it is not told.
 * @modified_id: Out: its process with the credentials that it had when it sent.
 *
 * Filled in with every message that somebody sent, never with a notice. Numbers of
 * processes and credentials are never 0, never used again for others, and tell
 * nothing but whether it is the same: on one connection the same process with the
 * same credentials has the same numbers, unless 16 others have sent since. Any
 * change of the credentials gives another @modified_id.
 */
struct alpc_attr_token {
	__u64 token_id;
	__u64 session_id;
	__u64 modified_id;
};

#define ALPC_MEMORY_READ		0x00000001u	/* the holder may read it */
#define ALPC_MEMORY_WRITE		0x00000002u	/* the holder may write it */
/* In struct alpc_memory only: EAGAIN where something of the caller's isn't there. */
#define ALPC_MEMORY_NOWAIT		0x00000004u

/**
 * struct alpc_memory_range - a range of the caller's memory
 * @base: Send: its address. Receive, out: 0.
 * @length: In bytes, not 0.
 * @access: ALPC_MEMORY_READ, ALPC_MEMORY_WRITE or both.
 * @reserved: Zero.
 */
struct alpc_memory_range {
	__u64 base;
	__u64 length;
	__u32 access;
	__u32 reserved;
};

/**
 * struct alpc_attr_memory - the MEMORY attribute
 * @ranges: Pointer to @count struct alpc_memory_range; receiving, 0 with a
 *	count of 0.
 * @count: Send: 1 to ALPC_MEMORY_RANGES_MAX. Receive, in: how many entries there
 *	is room for; out: how many ranges the message has, which may be more.
 * @reserved: Zero.
 *
 * Sent with a new synchronous request only. Filled in on receive only if the
 * message has ranges.
 */
struct alpc_attr_memory {
	__u64 ranges;
	__u32 count;
	__u32 reserved;
};

#define ALPC_RECEIVER_UID		0x00000001u
#define ALPC_RECEIVER_GID		0x00000002u

/**
 * struct alpc_attr_receiver - the RECEIVER attribute
 * @uid: With ALPC_RECEIVER_UID the effective user id that the thread must have
 *	which receives the message, in the sender's user namespace. Else 0.
 * @gid: With ALPC_RECEIVER_GID a group that it must be in, with its effective or
 *	a supplementary group id, likewise. Else 0.
 * @flags: ALPC_RECEIVER_*, one at least.
 * @reserved: Zero.
 *
 * Sent with a new request only. A thread that receives the message without having
 * the ids at that moment sees nothing of it and goes on receiving; the request
 * ends with RECEIVER_MISMATCH. One to an anonymous client fails so at once.
 */
struct alpc_attr_receiver {
	__u32 uid;
	__u32 gid;
	__u32 flags;
	__u32 reserved;
};

/* ------------------------------------------------------------------- QUERY */

/* Features, see struct alpc_query. */
#define ALPC_FEATURE_PORTS		0x00000001u	/* ports, connections, messages */
#define ALPC_FEATURE_IPC_NAMESPACES	0x00000002u	/* names are per IPC namespace */
#define ALPC_FEATURE_VIEWS		0x00000004u	/* sections and views */
#define ALPC_FEATURE_MEMORY		0x00000008u	/* caller memory */
#define ALPC_FEATURE_HANDLES		0x00000010u	/* handles */
#define ALPC_FEATURE_IDENTITY		0x00000020u	/* QUERY_IDENTITY */
#define ALPC_FEATURE_ACLS		0x00000040u	/* all rights count, QUERY_ACL, SET_ACL */
#define ALPC_FEATURE_SECURITY		0x00000080u	/* security contexts and levels */
#define ALPC_FEATURE_IMPERSONATE	0x00000100u	/* IMPERSONATE */

/**
 * struct alpc_query - version, features and default limits
 * @abi_version: Out: ALPC_ABI_VERSION of the kernel side.
 * @reserved: Zero.
 * @features: Out: ALPC_FEATURE_* that work on this kernel.
 * @ports_per_user: Out: connection ports one user may have. A parameter of the module,
 *	as are the next two.
 * @connections_per_user: Out: connections one user may have begun.
 * @conversations_per_user: Out: conversations one user may have open.
 * @conversations_per_connection: Out: open conversations of one connection.
 * @queue_messages: Out: default share of a connection, in messages.
 * @queue_bytes: Out: default share of a connection, in bytes.
 * @pending_connections: Out: connection requests waiting at one port.
 * @connections_per_port: Out: connections of one port.
 * @view_pages: Out: pages of memory that all views together may have. A
 *	parameter of the module, as is the next one.
 * @view_pages_per_user: Out: pages of memory that one user's views may have.
 * @sections_per_port: Out: sections made on one descriptor.
 * @reserved1: Out: 0.
 */
struct alpc_query {
	__u32 abi_version;
	__u32 reserved;
	__u64 features;
	__u32 ports_per_user;
	__u32 connections_per_user;
	__u32 conversations_per_user;
	__u32 conversations_per_connection;
	__u32 queue_messages;
	__u32 queue_bytes;
	__u32 pending_connections;
	__u32 connections_per_port;
	__u32 view_pages;
	__u32 view_pages_per_user;
	__u32 sections_per_port;
	__u32 reserved1;
};

/* ------------------------------------------------------------- CREATE_PORT */

/**
 * struct alpc_create_port - make a connection port
 * @name: Pointer to @name_length bytes of UTF-8, or 0 for an anonymous port.
 * @acl: Pointer to @acl_count entries; 0 unless ALPC_PORT_ACL.
 * @context: Value given back with connection requests and their notices.
 * @name_length: At most ALPC_NAME_MAX; 0 for an anonymous port.
 * @acl_count: At most ALPC_ACL_MAX. 0 with ALPC_PORT_ACL admits nobody.
 * @flags: ALPC_PORT_*.
 * @max_message_length: Largest payload in bytes, at most ALPC_MESSAGE_MAX;
 *	0 for the default (ALPC_MESSAGE_DEFAULT, or ALPC_LPC_MESSAGE_MAX with
 *	ALPC_PORT_LPC_MODE).
 * @queue_messages: Messages a connection may have queued in one direction;
 *	0 for the default. Above the default: EINVAL.
 * @queue_bytes: The same in bytes.
 * @max_connections: Connections the port may have; 0 for the default.
 * @accept: ALPC_TAKE_*: what the server takes from its clients.
 * @outcome: Out: ALPC_OUTCOME_*.
 * @handle_kinds: With ALPC_TAKE_HANDLES, the ALPC_HANDLE_* taken; 0 for those
 *	up to ALPC_HANDLE_SECTION. Else 0.
 * @told_bytes: Memory that what the server has sent may take until its clients have
 *	received it, or give the turn back; 0 for the default, ALPC_TOLD_DEFAULT. One
 *	user has an eighth at most, which must be enough for a message of the largest
 *	size: 8192 more than 16 times @max_message_length always are.
 * @reserved: Zero.
 */
struct alpc_create_port {
	__u64 name;
	__u64 acl;
	__u64 context;
	__u32 name_length;
	__u32 acl_count;
	__u32 flags;
	__u32 max_message_length;
	__u32 queue_messages;
	__u32 queue_bytes;
	__u32 max_connections;
	__u32 accept;
	__u32 outcome;
	__u32 handle_kinds;
	__u32 told_bytes;
	__u32 reserved;
};

/* ------------------------------------------------------- QUERY_ACL, SET_ACL */

/* There is no list: the owner has all rights, and nobody else has any. */
#define ALPC_ACL_NO_LIST		0x00000001u

/**
 * struct alpc_acl - read or replace the access control list of a port
 * @entries: Pointer to struct alpc_acl_entry: QUERY_ACL writes as many as there is
 *	room for, SET_ACL reads @count. 0 exactly if @count is 0.
 * @count: QUERY_ACL, in: room at @entries; out: how many entries there are. SET_ACL:
 *	how many there are to be, at most ALPC_ACL_MAX; 0 admits nobody.
 * @flags: QUERY_ACL, in: 0; out: 0 or ALPC_ACL_NO_LIST, with a count of 0. SET_ACL: the
 *	same, in.
 * @outcome: Out: ALPC_OUTCOME_*.
 * @reserved: Zero.
 */
struct alpc_acl {
	__u64 entries;
	__u32 count;
	__u32 flags;
	__u32 outcome;
	__u32 reserved;
};

/* ----------------------------------------------------------------- CONNECT */

/* Return at once; the answer arrives in the client port's queue. */
#define ALPC_CONNECT_ASYNC		0x00000010u
/* The creator of the port must have had this effective user or group id. */
#define ALPC_CONNECT_REQUIRE_UID	0x00000020u
#define ALPC_CONNECT_REQUIRE_GID	0x00000040u
/*
 * In/out: the request has been sent and fd is its pending client port. Set by
 * the kernel when a signal ends the wait, so that a restart only waits.
 */
#define ALPC_CONNECT_SENT		0x00000080u
/* The creator of the port must have had this label of the security module. */
#define ALPC_CONNECT_REQUIRE_LABEL	0x00000100u

/**
 * struct alpc_connect - connect to a port
 * @name: Pointer to @name_length bytes; 0 on a connect descriptor.
 * @send_data: Pointer to @send_length bytes of payload for the server.
 * @recv_data: Pointer to @recv_capacity bytes for the server's answer. 0
 *	with a capacity drops the answer.
 * @context: Value given back with every message this client port receives.
 * @name_length: At most ALPC_NAME_MAX; 0 on a connect descriptor.
 * @send_length: At most the port's maximum.
 * @recv_capacity: In bytes.
 * @required_uid: With ALPC_CONNECT_REQUIRE_UID, in the caller's namespace.
 * @required_gid: With ALPC_CONNECT_REQUIRE_GID, in the caller's namespace.
 * @max_message_length: Largest payload this client port takes; 0 for the
 *	port's. The smaller of both counts.
 * @queue_messages: Messages the client port may have queued; 0 for the port's.
 * @queue_bytes: The same in bytes.
 * @accept: ALPC_TAKE_*: what the client takes from the server, all but
 *	ALPC_TAKE_IDENTITY.
 * @handle_kinds: As in struct alpc_create_port.
 * @timeout: See ALPC_TIMEOUT_*. Rewritten to an absolute time when a signal
 *	ends the wait.
 * @flags: ALPC_CONNECT_* and ALPC_TIMEOUT_*.
 * @outcome: Out: ALPC_OUTCOME_*.
 * @fd: Without ALPC_CONNECT_SENT ignored, and untouched unless a signal ends
 *	the wait: then out, the pending client port. With it in. The descriptor
 *	is the caller's, and stays open whatever the outcome.
 * @recv_length: Out: bytes of the answer, a refusal too. More than
 *	@recv_capacity are not there: that is how much was needed.
 * @server_pid: Out: process that accepted, in the caller's namespace, or 0.
 * @server_uid: Out: its effective user id, in the caller's namespace.
 * @server_gid: Out: its effective group id, in the caller's namespace.
 * @reserved1: Zero.
 * @required_label: With ALPC_CONNECT_REQUIRE_LABEL pointer to
 *	@required_label_length bytes, else 0: the label as ALPC_IOC_QUERY_IDENTITY
 *	tells it, without its final 0.
 * @required_label_length: 1 to ALPC_LABEL_MAX, or 0 without the flag.
 * @security: ALPC_SECURITY_*: level and flags for the messages of this client.
 */
struct alpc_connect {
	__u64 name;
	__u64 send_data;
	__u64 recv_data;
	__u64 context;
	__u32 name_length;
	__u32 send_length;
	__u32 recv_capacity;
	__u32 required_uid;
	__u32 required_gid;
	__u32 max_message_length;
	__u32 queue_messages;
	__u32 queue_bytes;
	__u32 accept;
	__u32 handle_kinds;
	__u64 timeout;
	__u32 flags;
	__u32 outcome;
	__s32 fd;
	__u32 recv_length;
	__u32 server_pid;
	__u32 server_uid;
	__u32 server_gid;
	__u32 reserved1;
	__u64 required_label;
	__u32 required_label_length;
	__u32 security;
};

/* -------------------------------------------------------------------- OPEN */

/**
 * struct alpc_open - get a connect descriptor for a named port
 * @name: Pointer to @name_length bytes.
 * @name_length: 1 to ALPC_NAME_MAX.
 * @flags: 0.
 * @outcome: Out: ALPC_OUTCOME_*.
 * @reserved: Zero.
 *
 * It stays the same port's, whoever has the name later. Whether the caller may
 * connect is found out when it does. Until then, QUERY_PORT and QUERY_IDENTITY
 * tell who may not connect only whose port it is.
 */
struct alpc_open {
	__u64 name;
	__u32 name_length;
	__u32 flags;
	__u32 outcome;
	__u32 reserved;
};

/* ------------------------------------------------------------------ ACCEPT */

/* Refuse: the payload goes to the client, and no port is made. */
#define ALPC_REFUSE		0x00000001u

/**
 * struct alpc_accept - accept or refuse a received connection request
 * @id: The request's id.
 * @send_data: Pointer to @send_length bytes of payload for the client.
 * @context: Port context of the connection: bound before the client can send,
 *	given back with every message from this client.
 * @send_length: At most the connection's maximum.
 * @flags: 0 or ALPC_REFUSE.
 * @max_message_length: Largest payload of the connection; 0 for the port's.
 *	Above the port's: EINVAL.
 * @queue_messages: Share of this connection; 0 for the port's.
 * @queue_bytes: The same in bytes.
 * @accept: ALPC_TAKE_* that the server takes from this client; 0 for the port's.
 *	What the port does not take: EINVAL.
 * @outcome: Out: ALPC_OUTCOME_*.
 * @handle_kinds: ALPC_HANDLE_* likewise; 0 for the port's.
 */
struct alpc_accept {
	__u64 id;
	__u64 send_data;
	__u64 context;
	__u32 send_length;
	__u32 flags;
	__u32 max_message_length;
	__u32 queue_messages;
	__u32 queue_bytes;
	__u32 accept;
	__u32 outcome;
	__u32 handle_kinds;
};

/* ------------------------------------------------------- SEND_WAIT_RECEIVE */

/* Send send_data: a new message when send_id is 0, else into send_id. */
#define ALPC_SEND			0x00000010u
/* Receive the next message of the port, or with ALPC_SYNC the answer. */
#define ALPC_RECEIVE			0x00000020u
/*
 * Wait for the next message of this conversation and for no other. New
 * message: a synchronous request. Into a held conversation: a callback.
 */
#define ALPC_SYNC			0x00000040u
/*
 * Give the conversation up. New message: one-way. Into a held conversation:
 * the final reply.
 */
#define ALPC_RELEASE			0x00000080u
/* With ALPC_SYNC, into a held callback: answer it, then wait on. */
#define ALPC_ANSWER			0x00000100u
/* With ALPC_RELEASE into a held conversation: send nothing, just let go. */
#define ALPC_DISCARD			0x00000200u
/* Never wait for room in the queue: QUEUE_FULL instead. */
#define ALPC_NONBLOCK			0x00000400u
/*
 * In/out: the send has been committed. Set by the kernel whenever the send
 * part is done. A call that starts with it set skips the send; with ALPC_SYNC
 * it waits for the next message of conversation send_id.
 */
#define ALPC_SENT			0x00000800u
/*
 * With ALPC_SEND and no other way to send: send nothing, but become the holder
 * of conversation send_id, which the caller's side holds at turn
 * send_callback_id. It ends when the caller can't answer it any more, and no
 * longer when the process can't that has received it.
 */
#define ALPC_ADOPT			0x00001000u
/*
 * With ALPC_RECEIVE or ALPC_ADOPT: a conversation that is received by this
 * call, or taken over, ends with the calling thread too.
 */
#define ALPC_HOLD_THREAD		0x00002000u

/**
 * struct alpc_transfer - argument of ALPC_IOC_SEND_WAIT_RECEIVE
 * @send_data: Pointer to @send_length bytes of payload.
 * @recv_data: Pointer to @recv_capacity bytes. May be the same memory.
 * @send_attributes: Pointer to an attribute container, or 0.
 * @recv_attributes: Pointer to an attribute container, or 0.
 * @send_length: In bytes.
 * @recv_capacity: In bytes.
 * @send_callback_id: Turn of @send_id as received last; 0 for a new message.
 * @reply_bytes: Of what is sent without waiting for the answer, ALPC_SEND without
 *	ALPC_SYNC and ALPC_RELEASE: room to make for the answer, if more is needed than
 *	@send_length or 256. Else 0. A server's needs none: answers are the client's memory.
 * @timeout: See ALPC_TIMEOUT_*. Rewritten to an absolute time, and the flags
 *	with it, when a signal ends the wait.
 * @flags: ALPC_SEND, ALPC_RECEIVE, …, and ALPC_TIMEOUT_*.
 * @outcome: Out: ALPC_OUTCOME_*.
 * @send_id: In: 0 for a new message. Out: the conversation sent into, 0 for
 *	a one-way message.
 * @id: Out: the received message's conversation, 0 when it was one-way.
 * @callback_id: Out: its turn. An answer must carry it.
 * @type: Out: ALPC_TYPE_*.
 * @type_flags: Out: ALPC_TYPE_FLAG_*.
 * @recv_length: Out: bytes received, or bytes needed with BUFFER_TOO_SMALL.
 * @pid: Out: sender's process in the receiver's pid namespace, 0 if it has
 *	no id there.
 * @tid: Out: sender's thread, likewise.
 * @uid: Out: sender's effective user id in the receiver's user namespace;
 *	the overflow id if it has none there.
 * @gid: Out: sender's effective group id, likewise.
 * @reserved1: Out: 0.
 * @port_context: Out: this side's context value of the connection.
 * @sequence: Out: number of the message among those that arrived on this
 *	port, from 1; messages dropped unreceived leave gaps.
 */
struct alpc_transfer {
	__u64 send_data;
	__u64 recv_data;
	__u64 send_attributes;
	__u64 recv_attributes;
	__u32 send_length;
	__u32 recv_capacity;
	__u32 send_callback_id;
	__u32 reply_bytes;
	__u64 timeout;
	__u32 flags;
	__u32 outcome;
	__u64 send_id;
	__u64 id;
	__u32 callback_id;
	__u16 type;
	__u16 type_flags;
	__u32 recv_length;
	__u32 pid;
	__u32 tid;
	__u32 uid;
	__u32 gid;
	__u32 reserved1;
	__u64 port_context;
	__u64 sequence;
};

/* ------------------------------------------------------------------ CANCEL */

/* Cancel only what the other side has not received. */
#define ALPC_CANCEL_TRY			0x00000001u

/**
 * struct alpc_cancel - cancel a conversation
 * @id: The conversation. Its requester and its holder may cancel it.
 * @flags: 0 or ALPC_CANCEL_TRY.
 * @outcome: Out: ALPC_OUTCOME_*. ALREADY_RECEIVED with success means that
 *	the holder had received the request: it gets a notice.
 */
struct alpc_cancel {
	__u64 id;
	__u32 flags;
	__u32 outcome;
};

/* -------------------------------------------------------------- DISCONNECT */

/* What is queued and needs no answer can still be received. */
#define ALPC_DISCONNECT_NO_FLUSH	0x00000001u

/**
 * struct alpc_disconnect - end a connection, or a whole connection port
 * @flags: 0 or ALPC_DISCONNECT_NO_FLUSH.
 * @reserved: Zero.
 */
struct alpc_disconnect {
	__u32 flags;
	__u32 reserved;
};

/* -------------------------------------------------------------- QUERY_PORT */

#define ALPC_ROLE_CONNECTION		1u	/* connection port */
#define ALPC_ROLE_SERVER		2u	/* server communication port */
#define ALPC_ROLE_CLIENT		3u	/* client communication port */
#define ALPC_ROLE_CONNECT		4u	/* connect descriptor */

#define ALPC_STATE_OPEN			1u	/* listening, or connected */
#define ALPC_STATE_PENDING		2u	/* not accepted yet */
#define ALPC_STATE_REFUSED		3u
#define ALPC_STATE_DISCONNECTED		4u	/* by either side */

/**
 * struct alpc_query_port - what a descriptor is
 * @role: Out: ALPC_ROLE_*.
 * @state: Out: ALPC_STATE_*.
 * @flags: Out: ALPC_PORT_* of the connection port.
 * @max_message_length: Out: largest payload in bytes.
 * @queue_messages: Out: share in messages.
 * @queue_bytes: Out: share in bytes.
 * @queued_messages: Out: messages waiting to be received here.
 * @queued_bytes: Out: their bytes.
 * @connections: Out: connections of a connection port.
 * @conversations: Out: open conversations.
 * @context: Out: the context value of this descriptor.
 * @sequence: Out: messages that have arrived here so far.
 * @peer_pid: Out: the other side's process, 0 for none or if not visible.
 * @peer_uid: Out: its effective user id at connect or accept.
 * @peer_gid: Out: its effective group id at connect or accept.
 * @refused: Out: connections that there was no place for, of a connection port.
 * @sections: Out: sections made on this descriptor that have not ended.
 * @views: Out: views that a communication port's side has from the other one.
 * @told_limit: Out: of a connection port, as in struct alpc_create_port; else 0.
 * @told_bytes: Out: how much of that is in use.
 */
struct alpc_query_port {
	__u32 role;
	__u32 state;
	__u32 flags;
	__u32 max_message_length;
	__u32 queue_messages;
	__u32 queue_bytes;
	__u32 queued_messages;
	__u32 queued_bytes;
	__u32 connections;
	__u32 conversations;
	__u64 context;
	__u64 sequence;
	__u32 peer_pid;
	__u32 peer_uid;
	__u32 peer_gid;
	__u32 refused;
	__u32 sections;
	__u32 views;
	__u32 told_limit;
	__u32 told_bytes;
};

/* --------------------------------------------------------- who uses what */

/**
 * struct alpc_gauge - what a user has of something that is limited
 * @used: How many.
 * @limit: The most that it may have.
 * @refused: How often it could not have more, since it had none of anything.
 */
struct alpc_gauge {
	__u32 used;
	__u32 limit;
	__u64 refused;
};

/* What is used in the user namespaces that the user owns, by whomever. */
#define ALPC_USER_AS_OWNER		0x00000001u

/**
 * struct alpc_query_user - what a user has of all that is limited
 * @uid: User id in the caller's user namespace: its own effective one, or any
 *	with CAP_SYS_RESOURCE in the first user namespace.
 * @flags: 0 or ALPC_USER_AS_OWNER.
 * @ports: Out: connection ports.
 * @connections: Out: connections that it has begun and not closed.
 * @left_connections: Out: ended connections that its servers have not closed.
 * @conversations: Out: conversations that it has begun.
 * @told_conversations: Out: messages that its servers have sent, and that clients
 *	have not received, or hold.
 * @view_pages: Out: pages of memory of its views.
 * @handles: Out: handles in messages that it has sent.
 * @told_handles: Out: handles in messages that its servers have sent.
 */
struct alpc_query_user {
	__u32 uid;
	__u32 flags;
	struct alpc_gauge ports;
	struct alpc_gauge connections;
	struct alpc_gauge left_connections;
	struct alpc_gauge conversations;
	struct alpc_gauge told_conversations;
	struct alpc_gauge view_pages;
	struct alpc_gauge handles;
	struct alpc_gauge told_handles;
};

/**
 * struct alpc_query_connection - what a connection uses of its port
 * @index: In: the number to look from. Out: that of the connection found. One
 *	more leads to the next one.
 * @state: Out: ALPC_STATE_*.
 * @context: Out: the server's context value.
 * @refused: Out: sends that found no room in the share of either direction, and
 *	failed or waited.
 * @pid: Out: who connected, in the caller's namespaces, as in the header.
 * @uid: Out: its effective user id.
 * @gid: Out: its effective group id.
 * @conversations: Out: open conversations.
 * @to_server_messages: Out: messages that the server has not received.
 * @to_server_bytes: Out: their bytes.
 * @to_client_messages: Out: messages that the client has not received.
 * @to_client_bytes: Out: their bytes.
 * @views_to_server: Out: views that the server has from this client.
 * @views_to_client: Out: views that the client has from the server.
 */
struct alpc_query_connection {
	__u32 index;
	__u32 state;
	__u64 context;
	__u64 refused;
	__u32 pid;
	__u32 uid;
	__u32 gid;
	__u32 conversations;
	__u32 to_server_messages;
	__u32 to_server_bytes;
	__u32 to_client_messages;
	__u32 to_client_bytes;
	__u32 views_to_server;
	__u32 views_to_client;
};

/* ------------------------------------------------------- sections and views */

/**
 * struct alpc_create_section - make a section: addresses for views
 * @size: In: bytes, at most ALPC_SECTION_MAX. Out: rounded up to whole pages.
 * @flags: 0.
 * @outcome: Out: ALPC_OUTCOME_*.
 *
 * Takes no memory but for its views.
 */
struct alpc_create_section {
	__u64 size;
	__u32 flags;
	__u32 outcome;
};

/**
 * struct alpc_create_view - make a view in a section
 * @size: In: bytes, not 0. Out: rounded up to whole pages.
 * @base: Out: its address in the calling process. The bytes are zero. If the
 *	process has not mapped the section, the call does: wholly, shared, for
 *	reading and writing, as mmap() of the descriptor would.
 * @offset: Out: where it begins in the section.
 * @flags: 0.
 * @outcome: Out: ALPC_OUTCOME_*.
 */
struct alpc_create_view {
	__u64 size;
	__u64 base;
	__u64 offset;
	__u32 flags;
	__u32 outcome;
};

/**
 * struct alpc_delete_view - delete an own view, or release a received one
 * @base: The address at which it begins in the calling process.
 * @flags: 0.
 * @outcome: Out: ALPC_OUTCOME_*.
 */
struct alpc_delete_view {
	__u64 base;
	__u32 flags;
	__u32 outcome;
};

#define ALPC_VIEW_STATE_OWNED		1u	/* of a section the process has, and accessible */
#define ALPC_VIEW_STATE_LENT		2u	/* the same, lent to somebody */
#define ALPC_VIEW_STATE_HELD		3u	/* received, and not released */

/**
 * struct alpc_query_view - what a view is
 * @base: The address at which it begins in the calling process.
 * @size: Out: of an own view, its bytes; of a received one, how many were lent.
 * @state: Out: ALPC_VIEW_STATE_*.
 * @flags: Out: ALPC_VIEW_SECURE if it was lent so.
 */
struct alpc_query_view {
	__u64 base;
	__u64 size;
	__u32 state;
	__u32 flags;
};

/* ---------------------------------------------------------------- identity */

/* The namespace that the capabilities and ids of an identity belong to. */
#define ALPC_USER_NS_SAME		1u	/* the caller's own */
#define ALPC_USER_NS_BELOW		2u	/* a descendant of the caller's */
#define ALPC_USER_NS_OTHER		3u	/* none of both */

/**
 * struct alpc_query_identity - who has sent a held message, or is the other end
 * @id: A held conversation, a connection request too: its sender, at the time
 *	of sending. 0: who connected or accepted, on a communication port; who
 *	made the port, on a connect descriptor.
 * @groups: Pointer to room for @group_count __u32, or 0.
 * @label: Pointer to room for @label_length bytes, or 0.
 * @cgroup: Out: the number of the cgroup, which is the inode number of its
 *	directory in the cgroup2 file system. It, @loginuid and @session are told
 *	of who connected, accepted or made a port, and of the sender of a message
 *	if the server takes ALPC_TAKE_IDENTITY; else 0.
 * @cap_effective: Out: capabilities, bit by number. They, and the four that
 *	follow, are 0 unless @user_ns is ALPC_USER_NS_SAME.
 * @cap_permitted: Out.
 * @cap_inheritable: Out.
 * @cap_bounding: Out.
 * @cap_ambient: Out.
 * @callback_id: The turn of @id.
 * @flags: 0.
 * @group_count: In: room at @groups, 0 exactly if that is 0. Out: how many
 *	supplementary groups there are. As many as there is room for are written.
 * @label_length: In: room at @label, 0 exactly if that is 0. Out: bytes that the
 *	security module's label takes with its final 0, or 0 if there is none. It
 *	is written only if there is room for all of it.
 * @pid: Out: process in the caller's pid namespace, 0 if it has no id there.
 * @tid: Out: thread, likewise.
 * @uid: Out: real user id in the caller's user namespace, the overflow id if it
 *	has none there. So are all of these, and the groups.
 * @euid: Out: effective user id.
 * @suid: Out: saved user id.
 * @fsuid: Out: user id for access to files.
 * @gid: Out: the same of the group.
 * @egid: Out.
 * @sgid: Out.
 * @fsgid: Out.
 * @loginuid: Out: audit user id, 0xffffffff if none is set or told.
 * @session: Out: audit session, 0xffffffff if there is none or it is not told.
 * @user_ns: Out: ALPC_USER_NS_*.
 * @outcome: Out: ALPC_OUTCOME_*.
 */
struct alpc_query_identity {
	__u64 id;
	__u64 groups;
	__u64 label;
	__u64 cgroup;
	__u64 cap_effective;
	__u64 cap_permitted;
	__u64 cap_inheritable;
	__u64 cap_bounding;
	__u64 cap_ambient;
	__u32 callback_id;
	__u32 flags;
	__u32 group_count;
	__u32 label_length;
	__u32 pid;
	__u32 tid;
	__u32 uid;
	__u32 euid;
	__u32 suid;
	__u32 fsuid;
	__u32 gid;
	__u32 egid;
	__u32 sgid;
	__u32 fsgid;
	__u32 loginuid;
	__u32 session;
	__u32 user_ns;
	__u32 outcome;
};

/* The thread itself, which must be waiting for the answer. */
#define ALPC_VERIFY_THREAD		0x00000001u

/**
 * struct alpc_verify - whether who sent a held message still has its number
 * @id: As in struct alpc_query_identity.
 * @callback_id: The turn of @id.
 * @flags: 0 for the process, or ALPC_VERIFY_THREAD, not with an id of 0.
 * @outcome: Out: ALPC_OUTCOME_*.
 * @reserved: Zero.
 *
 * A process keeps its number until it has been waited for. So a pidfd that was
 * opened by the number in the header is the sender's if a call of this succeeds
 * afterwards.
 */
struct alpc_verify {
	__u64 id;
	__u32 callback_id;
	__u32 flags;
	__u32 outcome;
	__u32 reserved;
};

/* ------------------------------------------------------- security contexts */

/**
 * struct alpc_security - make, delete or revoke a security context
 * @context: CREATE_SECURITY: out: the new context's number, unique on this side of
 *	the connection for ever. The others: which one.
 * @security: CREATE_SECURITY: ALPC_SECURITY_*. The others: 0.
 * @flags: 0.
 * @outcome: Out: ALPC_OUTCOME_*.
 * @reserved: Zero.
 */
struct alpc_security {
	__u64 context;
	__u32 security;
	__u32 flags;
	__u32 outcome;
	__u32 reserved;
};

/**
 * struct alpc_impersonate - use files as the sender of a held message may
 * @id: The held conversation.
 * @callback_id: Its turn.
 * @flags: 0.
 * @outcome: Out: ALPC_OUTCOME_*.
 * @reserved: Zero.
 */
struct alpc_impersonate {
	__u64 id;
	__u32 callback_id;
	__u32 flags;
	__u32 outcome;
	__u32 reserved;
};

/* ----------------------------------------------------- handles, caller memory */

/**
 * struct alpc_claim - install handles of a held message as descriptors
 * @id: The held conversation.
 * @handles: Pointer to @count struct alpc_handle, written as each is installed.
 * @callback_id: Its turn.
 * @index: The first handle to install.
 * @count: How many, not 0. What the message has must include all of them.
 * @flags: 0 or ALPC_HANDLES_INHERIT.
 * @claimed: Out: how many were installed, of a call that fails too.
 * @outcome: Out: ALPC_OUTCOME_*.
 */
struct alpc_claim {
	__u64 id;
	__u64 handles;
	__u32 callback_id;
	__u32 index;
	__u32 count;
	__u32 flags;
	__u32 claimed;
	__u32 outcome;
};

/**
 * struct alpc_memory - read or write the caller memory of a held request
 * @id: The held conversation.
 * @data: Pointer to @length bytes of the holder's own.
 * @offset: Where to begin in the range.
 * @length: In bytes. @offset and @length must be within the range.
 * @callback_id: The turn.
 * @index: Which range.
 * @flags: ALPC_MEMORY_READ: from the range to @data. ALPC_MEMORY_WRITE: the other way.
 *	Either with ALPC_MEMORY_NOWAIT.
 * @outcome: Out: ALPC_OUTCOME_*.
 * @done: Out: bytes moved, of a call that fails too.
 * @timeout: How long the caller's pages and its writing are waited for. See ALPC_TIMEOUT_*.
 *	Rewritten to an absolute time when a signal ends the call.
 * @timeout_flags: ALPC_TIMEOUT_*, rewritten with it. ALPC_TIMEOUT_INFINITE with
 *	ALPC_MEMORY_NOWAIT.
 * @reserved: Zero.
 */
struct alpc_memory {
	__u64 id;
	__u64 data;
	__u64 offset;
	__u64 length;
	__u32 callback_id;
	__u32 index;
	__u32 flags;
	__u32 outcome;
	__u64 done;
	__u64 timeout;
	__u32 timeout_flags;
	__u32 reserved;
};

/* ------------------------------------------------------------------ ioctls */

#define ALPC_IOC_MAGIC			0xA9

/* On /dev/alpc. CREATE_PORT and CONNECT return a new descriptor. */
#define ALPC_IOC_QUERY		_IOWR(ALPC_IOC_MAGIC, 0x00, struct alpc_query)
#define ALPC_IOC_CREATE_PORT	_IOWR(ALPC_IOC_MAGIC, 0x01, struct alpc_create_port)
/* On /dev/alpc with a name, on a connect descriptor without. */
#define ALPC_IOC_CONNECT	_IOWR(ALPC_IOC_MAGIC, 0x02, struct alpc_connect)
/* On /dev/alpc. Returns a new descriptor. */
#define ALPC_IOC_OPEN		_IOWR(ALPC_IOC_MAGIC, 0x03, struct alpc_open)

#define ALPC_IOC_QUERY_USER	_IOWR(ALPC_IOC_MAGIC, 0x04, struct alpc_query_user)

/* On a connection port. Both return a new descriptor. */
#define ALPC_IOC_CREATE_CONNECT	_IO(ALPC_IOC_MAGIC, 0x10)
#define ALPC_IOC_ACCEPT		_IOWR(ALPC_IOC_MAGIC, 0x11, struct alpc_accept)
/* On connect descriptors too. */
#define ALPC_IOC_QUERY_ACL	_IOWR(ALPC_IOC_MAGIC, 0x12, struct alpc_acl)
#define ALPC_IOC_SET_ACL	_IOWR(ALPC_IOC_MAGIC, 0x13, struct alpc_acl)
/* Returns 0. */
#define ALPC_IOC_QUERY_CONNECTION \
				_IOWR(ALPC_IOC_MAGIC, 0x14, struct alpc_query_connection)

/* On every port. */
#define ALPC_IOC_SEND_WAIT_RECEIVE \
				_IOWR(ALPC_IOC_MAGIC, 0x20, struct alpc_transfer)
#define ALPC_IOC_CANCEL		_IOWR(ALPC_IOC_MAGIC, 0x21, struct alpc_cancel)
#define ALPC_IOC_DISCONNECT	_IOW(ALPC_IOC_MAGIC, 0x22, struct alpc_disconnect)
#define ALPC_IOC_QUERY_PORT	_IOWR(ALPC_IOC_MAGIC, 0x23, struct alpc_query_port)
/* Returns a new descriptor. */
#define ALPC_IOC_CREATE_SECTION	_IOWR(ALPC_IOC_MAGIC, 0x24, struct alpc_create_section)
/* On sections too. */
#define ALPC_IOC_DELETE_VIEW	_IOWR(ALPC_IOC_MAGIC, 0x25, struct alpc_delete_view)
#define ALPC_IOC_QUERY_VIEW	_IOWR(ALPC_IOC_MAGIC, 0x28, struct alpc_query_view)
/* On ports only again. */
#define ALPC_IOC_CLAIM		_IOWR(ALPC_IOC_MAGIC, 0x26, struct alpc_claim)
#define ALPC_IOC_MEMORY		_IOWR(ALPC_IOC_MAGIC, 0x27, struct alpc_memory)
/* On connect descriptors too. */
#define ALPC_IOC_QUERY_IDENTITY	_IOWR(ALPC_IOC_MAGIC, 0x29, struct alpc_query_identity)
#define ALPC_IOC_VERIFY		_IOWR(ALPC_IOC_MAGIC, 0x2a, struct alpc_verify)

/* On a communication port. */
#define ALPC_IOC_CREATE_SECURITY \
				_IOWR(ALPC_IOC_MAGIC, 0x2b, struct alpc_security)
#define ALPC_IOC_DELETE_SECURITY \
				_IOWR(ALPC_IOC_MAGIC, 0x2c, struct alpc_security)
#define ALPC_IOC_REVOKE_SECURITY \
				_IOWR(ALPC_IOC_MAGIC, 0x2d, struct alpc_security)

/* On every port. Returns a new descriptor: the thread's way back. */
#define ALPC_IOC_IMPERSONATE	_IOWR(ALPC_IOC_MAGIC, 0x2e, struct alpc_impersonate)
/* On that. */
#define ALPC_IOC_REVERT		_IO(ALPC_IOC_MAGIC, 0x2f)

/* On a section. */
#define ALPC_IOC_CREATE_VIEW	_IOWR(ALPC_IOC_MAGIC, 0x30, struct alpc_create_view)

#endif /* _UAPI_LINUX_ALPC_H */
