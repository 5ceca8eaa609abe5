/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A server of counters, one for each user, by whom the kernel says is calling:
 *
 *	counter_server NAME
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <alpc.h>

#include "counter.h"

#define USERS 16
#define CLIENTS 16

static struct {
	__u32 uid;
	__u64 value;
} counters[USERS];
static int users;

/* The descriptors of the connections, by context less one. */
static int clients[CLIENTS];

static int create(const char *name)
{
	struct alpc_acl_entry everyone;
	struct alpc_create_port arg;
	int port, device = open("/dev/alpc", O_RDWR | O_CLOEXEC);

	if (device < 0)
		return -1;
	memset(&everyone, 0, sizeof(everyone));
	everyone.type = ALPC_ACL_ALLOW;
	everyone.who = ALPC_ACL_EVERYONE;
	everyone.rights = ALPC_RIGHT_CONNECT;
	memset(&arg, 0, sizeof(arg));
	arg.name = (uintptr_t)name;
	arg.name_length = strlen(name);
	arg.flags = ALPC_PORT_ACL;
	arg.acl = (uintptr_t)&everyone;
	arg.acl_count = 1;
	port = ioctl(device, ALPC_IOC_CREATE_PORT, &arg);
	close(device);
	return port;
}

static void admit(int port, __u64 id)
{
	struct alpc_accept arg;
	int place = 0;

	while (place < CLIENTS && clients[place] >= 0)
		place++;
	memset(&arg, 0, sizeof(arg));
	arg.id = id;
	if (place == CLIENTS) {
		arg.flags = ALPC_REFUSE;
		ioctl(port, ALPC_IOC_ACCEPT, &arg);
		return;
	}
	arg.context = place + 1;
	clients[place] = ioctl(port, ALPC_IOC_ACCEPT, &arg);
}

static void count(const struct counter_request *request, __u32 length, __u32 uid,
		  struct counter_reply *reply)
{
	int i;

	memset(reply, 0, sizeof(*reply));
	reply->uid = uid;
	if (length != sizeof(*request) || request->reserved) {
		reply->error = EINVAL;
		return;
	}
	if (request->what == COUNTER_STOP) {
		reply->error = uid == geteuid() ? 0 : EPERM;
		return;
	}
	for (i = 0; i < users && counters[i].uid != uid; i++)
		;
	if (i == USERS) {
		reply->error = ENOSPC;
		return;
	}
	if (i == users)
		counters[users++].uid = uid;
	counters[i].value += request->amount;
	reply->value = counters[i].value;
}

int main(int argc, char **argv)
{
	struct counter_request request;
	struct counter_reply reply;
	struct alpc_transfer arg;
	__u64 owed = 0;
	__u32 turn = 0;
	int port, i, result, stop = 0;

	if (argc != 2)
		return 2;
	for (i = 0; i < CLIENTS; i++)
		clients[i] = -1;
	port = create(argv[1]);
	if (port < 0) {
		perror(argv[1]);
		return 1;
	}
	printf("%s counts\n", argv[1]);
	fflush(stdout);
	for (;;) {
		memset(&arg, 0, sizeof(arg));
		if (!stop)
			arg.flags = ALPC_RECEIVE;
		arg.recv_data = (uintptr_t)&request;
		arg.recv_capacity = sizeof(request);
		if (owed) {
			arg.flags |= ALPC_SEND | ALPC_RELEASE;
			arg.send_id = owed;
			arg.send_callback_id = turn;
			arg.send_data = (uintptr_t)&reply;
			arg.send_length = sizeof(reply);
		}
		do
			result = ioctl(port, ALPC_IOC_SEND_WAIT_RECEIVE, &arg);
		while (result < 0 && errno == EINTR);
		owed = 0;
		if (stop)
			return 0;
		if (result < 0) {
			fprintf(stderr, "%s (outcome %u)\n", strerror(errno), arg.outcome);
			if (arg.outcome == ALPC_OUTCOME_CLOSED)
				return 1;
			continue;
		}
		switch (arg.type) {
		case ALPC_TYPE_CONNECTION_REQUEST:
			admit(port, arg.id);
			break;
		case ALPC_TYPE_PORT_CLOSED:
			close(clients[arg.port_context - 1]);
			clients[arg.port_context - 1] = -1;
			break;
		case ALPC_TYPE_REQUEST:
			count(&request, arg.recv_length, arg.uid, &reply);
			stop = request.what == COUNTER_STOP && !reply.error;
			owed = arg.id;
			turn = arg.callback_id;
			break;
		}
	}
}
