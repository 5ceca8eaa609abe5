/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C side of ffi.rs: what the kernel offers only as inline functions and
 * macros, what kind of file a file is, and three steps of the hot path that would cost a call for each of
 * their accessors if Rust made them.
 */
#ifndef ALPC_SHIM_H
#define ALPC_SHIM_H

#include <linux/ktime.h>
#include <linux/types.h>

struct cred;
struct file;
struct file_operations;
struct pid;
struct pid_namespace;
struct task_struct;

/* An identity as one task sees it. Layout of Seen in cred.rs. */
struct alpc_seen {
	u32 pid;
	u32 tid;
	u32 uid;
	u32 gid;
};

/*
 * Who sent a message. Layout of Identity in cred.rs; holds three references.
 * The thread's keeps its pid namespace too.
 */
struct alpc_identity {
	const struct cred *cred;
	struct pid *process;
	struct pid *thread;
	/*
	 * The sender's pid namespace, and its ids in that and its user namespace.
	 * NULL while the latter can't be told for good.
	 */
	struct pid_namespace *pids;
	struct alpc_seen own;
};

/* How a sleep ended. End in ffi.rs. */
enum alpc_end {
	ALPC_END_DONE,
	ALPC_END_DONE_DYING,
	ALPC_END_SIGNAL,
	ALPC_END_KILLED,
	ALPC_END_TIMED_OUT,
};

struct file *alpc_shim_anon_inode_getfile(const char *name,
					  const struct file_operations *fops,
					  void *priv, int flags);
void *alpc_shim_kvmalloc(size_t size);
int alpc_shim_copy_from_user_72(u64 *to, const u64 __user *from);
int alpc_shim_copy_to_user_80(u64 __user *to, const u64 *from);
u32 alpc_shim_file_kind(struct file *file);
bool alpc_shim_put_unless_last(struct file *file);
void alpc_shim_identity_get(struct alpc_identity *id);
void alpc_shim_identity_seen(const struct alpc_identity *id, struct alpc_seen *seen);
u64 alpc_shim_ipc_ns_id(void);
ktime_t alpc_shim_monotonic(void);
enum alpc_end alpc_shim_sleep(const bool *done, const ktime_t *deadline, clockid_t clock);
void alpc_shim_wake_up_and_yield(struct task_struct *task);
struct task_struct *alpc_shim_hand_over_begin(void);
void alpc_shim_hand_over_abort(void);
enum alpc_end alpc_shim_hand_over(struct task_struct *task, const bool *done);

#endif /* ALPC_SHIM_H */
