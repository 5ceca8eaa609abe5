/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A client of ALPC in C99, from the header alone:
 *
 *	alpc-c-client NAME TEXT
 *
 * connects to the port NAME with TEXT as payload, calls it with TEXT, answers
 * callbacks with what they say, and prints each step. A reply is expected to
 * be the request backwards. The exit status is 0, 1 if something was wrong, or
 * 2 with the outcome printed if the server or the kernel refused.
 */
#define _POSIX_C_SOURCE 200809L /* O_CLOEXEC */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <alpc.h>

#define ROOM 256

static __u64 address(const void *pointer)
{
	return (__u64)(uintptr_t)pointer;
}

static int refused(const char *what, int error, __u32 outcome)
{
	printf("%s: errno %d, outcome %u\n", what, error, (unsigned int)outcome);
	return 2;
}

/* The descriptor of the client port, or a negative exit status. */
static int connect_to(int device, const char *name, const char *text)
{
	char answer[ROOM];
	struct alpc_connect arg;
	int port;

	memset(&arg, 0, sizeof(arg));
	arg.name = address(name);
	arg.name_length = (__u32)strlen(name);
	arg.send_data = address(text);
	arg.send_length = (__u32)strlen(text);
	arg.recv_data = address(answer);
	arg.recv_capacity = sizeof(answer);
	port = ioctl(device, ALPC_IOC_CONNECT, &arg);
	if (port < 0)
		return -refused("connect", errno, arg.outcome);
	printf("connected to uid %u: %.*s\n", (unsigned int)arg.server_uid,
	       (int)arg.recv_length, answer);
	return port;
}

/*
 * A request and its reply, whose length is returned; or a negative exit
 * status. A callback is answered with its own payload.
 */
static int call(int port, const char *text, char *reply)
{
	struct alpc_transfer arg;

	memset(&arg, 0, sizeof(arg));
	arg.flags = ALPC_SEND | ALPC_SYNC | ALPC_RECEIVE;
	arg.send_data = address(text);
	arg.send_length = (__u32)strlen(text);
	arg.recv_data = address(reply);
	arg.recv_capacity = ROOM;
	for (;;) {
		while (ioctl(port, ALPC_IOC_SEND_WAIT_RECEIVE, &arg) < 0) {
			/* The same structure goes on: it is never sent twice. */
			if (errno != EINTR)
				return -refused("call", errno, arg.outcome);
		}
		if (arg.type == ALPC_TYPE_REPLY)
			return (int)arg.recv_length;
		if (arg.type != ALPC_TYPE_REQUEST) {
			printf("a message of type %u\n", (unsigned int)arg.type);
			return -1;
		}
		printf("callback: %.*s\n", (int)arg.recv_length, reply);
		arg.flags = ALPC_SEND | ALPC_SYNC | ALPC_RECEIVE | ALPC_ANSWER;
		arg.send_id = arg.id;
		arg.send_callback_id = arg.callback_id;
		arg.send_data = arg.recv_data;
		arg.send_length = arg.recv_length;
	}
}

static int is_reverse(const char *text, const char *reply, size_t length)
{
	size_t i;

	if (strlen(text) != length)
		return 0;
	for (i = 0; i < length; i++) {
		if (reply[i] != text[length - 1 - i])
			return 0;
	}
	return 1;
}

int main(int argc, char **argv)
{
	char reply[ROOM];
	struct alpc_query query;
	int device, port, length;

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
	if (ioctl(device, ALPC_IOC_QUERY, &query) < 0) {
		perror("query");
		return 1;
	}
	if (query.abi_version != ALPC_ABI_VERSION || !(query.features & ALPC_FEATURE_PORTS)) {
		fprintf(stderr, "another version of ALPC\n");
		return 1;
	}
	port = connect_to(device, argv[1], argv[2]);
	if (port < 0)
		return -port;
	length = call(port, argv[2], reply);
	if (length < 0)
		return -length;
	printf("reply: %.*s\n", length, reply);
	close(port);
	close(device);
	return is_reverse(argv[2], reply, (size_t)length) ? 0 : 1;
}
