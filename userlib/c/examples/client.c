/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A client of ALPC in C99, from the header alone:
 *
 *	client NAME TEXT
 *
 * connects to the port NAME, says whose it is, calls it with TEXT, and prints the answer.
 * Whatever the server does, or leaves undone, it ends within some ten seconds.
 */
#define _POSIX_C_SOURCE 200809L

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <alpc.h>

/* For each of both calls, in nanoseconds. */
#define PATIENCE (5 * 1000000000ull)

static __u64 address(const void *pointer)
{
	return (__u64)(uintptr_t)pointer;
}

/* The outcome is finer than errno: see alpc.h. */
static void say_failed(const char *what, __u32 outcome)
{
	fprintf(stderr, "%s: %s (outcome %u)\n", what, strerror(errno), (unsigned int)outcome);
}

/* The descriptor of the client port, or -1. */
static int connect_to(int device, const char *name)
{
	struct alpc_connect arg;
	int port;

	memset(&arg, 0, sizeof(arg));
	arg.name = address(name);
	arg.name_length = (__u32)strlen(name);
	arg.flags = ALPC_TIMEOUT_RELATIVE;
	arg.timeout = PATIENCE;
	do {
		/* The same structure goes on, with the time that is left. */
		port = ioctl(device, ALPC_IOC_CONNECT, &arg);
	} while (port < 0 && errno == EINTR);
	if (port < 0)
		say_failed(name, arg.outcome);
	else
		printf("connected to process %u of user %u\n", (unsigned int)arg.server_pid,
		       (unsigned int)arg.server_uid);
	return port;
}

/* Asks and waits for the reply, whose length is returned, or -1. */
static int call(int port, const char *text, char *reply, __u32 room)
{
	struct alpc_transfer arg;
	int result;

	memset(&arg, 0, sizeof(arg));
	arg.flags = ALPC_SEND | ALPC_SYNC | ALPC_RECEIVE | ALPC_TIMEOUT_RELATIVE;
	arg.send_data = address(text);
	arg.send_length = (__u32)strlen(text);
	arg.recv_data = address(reply);
	arg.recv_capacity = room;
	arg.timeout = PATIENCE;
	do {
		result = ioctl(port, ALPC_IOC_SEND_WAIT_RECEIVE, &arg);
	} while (result < 0 && errno == EINTR);
	if (result < 0) {
		say_failed("call", arg.outcome);
		return -1;
	}
	/* A server may ask back before it answers: this client has nothing to say to that. */
	if (arg.type != ALPC_TYPE_REPLY) {
		fprintf(stderr, "call: a message of type %u, not a reply\n", (unsigned int)arg.type);
		return -1;
	}
	return (int)arg.recv_length;
}

int main(int argc, char **argv)
{
	static char reply[ALPC_MESSAGE_MAX];
	struct alpc_query query;
	int device, port, length, i;

	if (argc != 3) {
		fprintf(stderr, "usage: %s NAME TEXT\n", argv[0]);
		return 1;
	}
	device = open("/dev/alpc", O_RDWR | O_CLOEXEC);
	if (device < 0) {
		perror("/dev/alpc");
		return 1;
	}
	memset(&query, 0, sizeof(query));
	if (ioctl(device, ALPC_IOC_QUERY, &query) < 0 ||
	    query.abi_version != ALPC_ABI_VERSION) {
		fprintf(stderr, "/dev/alpc: another version of ALPC\n");
		return 1;
	}
	port = connect_to(device, argv[1]);
	if (port < 0)
		return 1;
	length = call(port, argv[2], reply, sizeof(reply));
	if (length < 0)
		return 1;
	/* What another process has written is no business of the terminal's. */
	for (i = 0; i < length; i++)
		putchar(isprint((unsigned char)reply[i]) ? reply[i] : '?');
	putchar('\n');
	return fflush(stdout) == 0 ? 0 : 1;
}
