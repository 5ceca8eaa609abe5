/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A server of ALPC in C99, from the header alone:
 *
 *	server NAME
 *
 * makes the port NAME, lets everybody connect, and answers each request with its text in
 * capitals. One system call answers a request and receives the next. Whatever a client
 * does, or leaves undone, the others are served.
 */
#define _POSIX_C_SOURCE 200809L

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <alpc.h>

/* How many clients there may be, and how many of them one user's. */
#define CLIENTS 512
#define CLIENTS_OF_A_USER 64

/* A connection lasts as long as its descriptor; uid is who connected. */
static struct {
	int fd; /* -1: the place is free */
	__u32 uid;
} clients[CLIENTS];

static __u64 address(const void *pointer)
{
	return (__u64)(uintptr_t)pointer;
}

/* The descriptor of the port, or -1. */
static int create(const char *name)
{
	struct alpc_acl_entry everyone;
	struct alpc_create_port arg;
	struct alpc_query query;
	int device, port;

	device = open("/dev/alpc", O_RDWR | O_CLOEXEC);
	if (device < 0) {
		perror("/dev/alpc");
		return -1;
	}
	memset(&query, 0, sizeof(query));
	if (ioctl(device, ALPC_IOC_QUERY, &query) < 0 ||
	    query.abi_version != ALPC_ABI_VERSION) {
		fprintf(stderr, "/dev/alpc: another version of ALPC\n");
		close(device);
		return -1;
	}
	/* The right to connect and no other: nothing of a client can make this wait. */
	memset(&everyone, 0, sizeof(everyone));
	everyone.type = ALPC_ACL_ALLOW;
	everyone.who = ALPC_ACL_EVERYONE;
	everyone.rights = ALPC_RIGHT_CONNECT;
	memset(&arg, 0, sizeof(arg));
	arg.name = address(name);
	arg.name_length = (__u32)strlen(name);
	arg.flags = ALPC_PORT_ACL;
	arg.acl = address(&everyone);
	arg.acl_count = 1;
	port = ioctl(device, ALPC_IOC_CREATE_PORT, &arg);
	if (port < 0)
		perror(name);
	close(device);
	return port;
}

/* A free place for a client of this user, or -1. */
static int place_for(__u32 uid)
{
	int i, place = -1, of_this_user = 0;

	for (i = 0; i < CLIENTS; i++) {
		if (clients[i].fd < 0)
			place = i;
		else if (clients[i].uid == uid)
			of_this_user++;
	}
	return of_this_user < CLIENTS_OF_A_USER ? place : -1;
}

/* Accepts whoever has sent a connection request, or refuses. */
static void admit(int port, const struct alpc_transfer *request)
{
	struct alpc_accept arg;
	int place = place_for(request->uid);

	memset(&arg, 0, sizeof(arg));
	arg.id = request->id;
	if (place >= 0) {
		/* It comes back with the notice that the client has gone. */
		arg.context = (__u64)place + 1;
		clients[place].fd = ioctl(port, ALPC_IOC_ACCEPT, &arg);
		if (clients[place].fd >= 0) {
			clients[place].uid = request->uid;
			return;
		}
	}
	/*
	 * There is no place, no descriptor or no memory for it; or it has gone by now, and
	 * there is nothing to refuse.
	 */
	arg.flags = ALPC_REFUSE;
	ioctl(port, ALPC_IOC_ACCEPT, &arg);
}

static void forget(__u64 context)
{
	if (context < 1 || context > CLIENTS || clients[context - 1].fd < 0)
		return;
	close(clients[context - 1].fd);
	clients[context - 1].fd = -1;
}

/* Gives a conversation up: who asked learns that no answer will come. */
static void discard(int port, __u64 id, __u32 callback_id)
{
	struct alpc_transfer arg;

	memset(&arg, 0, sizeof(arg));
	arg.flags = ALPC_SEND | ALPC_RELEASE | ALPC_DISCARD;
	arg.send_id = id;
	arg.send_callback_id = callback_id;
	ioctl(port, ALPC_IOC_SEND_WAIT_RECEIVE, &arg);
}

/* Receives for ever; returns when the port can't be used any more. */
static void serve(int port)
{
	static char data[ALPC_MESSAGE_DEFAULT];
	const struct timespec moment = { 0, 10 * 1000 * 1000 };
	struct alpc_transfer arg;
	__u64 owed = 0; /* the conversation that waits for what is in data */
	__u32 turn = 0, length = 0, i;
	int result;

	for (;;) {
		memset(&arg, 0, sizeof(arg));
		arg.flags = ALPC_RECEIVE;
		arg.recv_data = address(data);
		arg.recv_capacity = sizeof(data);
		if (owed) {
			arg.flags |= ALPC_SEND | ALPC_RELEASE;
			arg.send_id = owed;
			arg.send_callback_id = turn;
			arg.send_data = address(data);
			arg.send_length = length;
		}
		do {
			/* The same structure goes on: it is never sent twice. */
			result = ioctl(port, ALPC_IOC_SEND_WAIT_RECEIVE, &arg);
		} while (result < 0 && errno == EINTR);
		if (result < 0 && owed && !(arg.flags & ALPC_SENT)) {
			/* Whoever asked has gone, or has left no room: that is no concern of others. */
			discard(port, owed, turn);
			owed = 0;
			continue;
		}
		owed = 0;
		if (result < 0) {
			if (errno != ENOMEM) {
				perror("receive");
				return;
			}
			/* The message is still there, and memory may be again. */
			nanosleep(&moment, NULL);
			continue;
		}
		switch (arg.type) {
		case ALPC_TYPE_CONNECTION_REQUEST:
			admit(port, &arg);
			break;
		case ALPC_TYPE_PORT_CLOSED:
			forget(arg.port_context);
			break;
		case ALPC_TYPE_REQUEST:
			for (i = 0; i < arg.recv_length; i++)
				data[i] = (char)toupper((unsigned char)data[i]);
			owed = arg.id;
			turn = arg.callback_id;
			length = arg.recv_length;
			break;
		default:
			if (arg.type_flags & ALPC_TYPE_FLAG_CONTINUATION)
				discard(port, arg.id, arg.callback_id);
		}
	}
}

int main(int argc, char **argv)
{
	int port, i;

	if (argc != 2) {
		fprintf(stderr, "usage: %s NAME\n", argv[0]);
		return 1;
	}
	for (i = 0; i < CLIENTS; i++)
		clients[i].fd = -1;
	port = create(argv[1]);
	if (port < 0)
		return 1;
	printf("%s is served\n", argv[1]);
	fflush(stdout);
	serve(port);
	return 1;
}
