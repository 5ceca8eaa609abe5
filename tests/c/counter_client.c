/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Adds to the caller's counter, and prints it:
 *
 *	counter_client NAME AMOUNT...
 *	counter_client NAME stop
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <alpc.h>

#include "counter.h"

static int call(int port, const void *data, __u32 length, struct counter_reply *reply)
{
	struct alpc_transfer arg;
	int result;

	memset(&arg, 0, sizeof(arg));
	arg.flags = ALPC_SEND | ALPC_SYNC | ALPC_RECEIVE;
	arg.send_data = (uintptr_t)data;
	arg.send_length = length;
	arg.recv_data = (uintptr_t)reply;
	arg.recv_capacity = sizeof(*reply);
	do
		result = ioctl(port, ALPC_IOC_SEND_WAIT_RECEIVE, &arg);
	while (result < 0 && errno == EINTR);
	if (result < 0) {
		fprintf(stderr, "call: %s (outcome %u)\n", strerror(errno), arg.outcome);
		return -1;
	}
	return arg.type == ALPC_TYPE_REPLY && arg.recv_length == sizeof(*reply) ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct counter_request request;
	struct counter_reply reply;
	struct alpc_connect arg;
	int device, port, i;

	if (argc < 3)
		return 2;
	device = open("/dev/alpc", O_RDWR | O_CLOEXEC);
	if (device < 0) {
		perror("/dev/alpc");
		return 1;
	}
	memset(&arg, 0, sizeof(arg));
	arg.name = (uintptr_t)argv[1];
	arg.name_length = strlen(argv[1]);
	do
		port = ioctl(device, ALPC_IOC_CONNECT, &arg);
	while (port < 0 && errno == EINTR);
	if (port < 0) {
		fprintf(stderr, "%s: %s (outcome %u)\n", argv[1], strerror(errno), arg.outcome);
		return 1;
	}
	for (i = 2; i < argc; i++) {
		memset(&request, 0, sizeof(request));
		request.what = strcmp(argv[i], "stop") ? COUNTER_ADD : COUNTER_STOP;
		request.amount = strtoull(argv[i], NULL, 10);
		/* "?" is a request that the server can't understand. */
		if (call(port, &request, *argv[i] == '?' ? 1 : sizeof(request), &reply) < 0)
			return 1;
		if (reply.error)
			printf("%u: error %d\n", reply.uid, reply.error);
		else
			printf("%u: %llu\n", reply.uid, (unsigned long long)reply.value);
	}
	return 0;
}
