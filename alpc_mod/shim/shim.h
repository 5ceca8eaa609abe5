/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C side of ffi.rs: what the kernel offers only as inline functions and
 * macros, what kind of file a file is, three steps of the hot path that would cost
 * a call for each of their accessors if Rust made them, and the steps of copies
 * between processes.
 */
#ifndef ALPC_SHIM_H
#define ALPC_SHIM_H

#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/mm_types.h>
#include <linux/preempt.h>
#include <linux/types.h>
#include <linux/uidgid_types.h>

struct cred;
struct dentry;
struct file;
struct file_operations;
struct lsm_context;
struct mm_struct;
struct page;
struct pid;
struct pid_namespace;
struct task_struct;
struct user_namespace;
struct vm_operations_struct;

/*
 * What a stranger may wait for is held, or owed, for a moment, without being preempted.
 * PREEMPT_RT can't do that: no spinlock may be taken there so, and nobody is promised
 * anything.
 */
static inline void moment_begin(void)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_disable();
}

static inline void moment_end(void)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_enable();
}

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
	 * NULL while the latter can't be told for good. Of a hidden identity it is
	 * NULL, and so are the first two numbers.
	 */
	struct pid_namespace *pids;
	struct alpc_seen own;
};

/* Where a task was. Layout of Origin in cred.rs. */
struct alpc_origin {
	u64 cgroup;
	kuid_t loginuid;
	u32 session;
};

/* The whole of an identity as one task sees it. Layout of Told in cred.rs. */
struct alpc_told {
	u32 uid, euid, suid, fsuid;
	u32 gid, egid, sgid, fsgid;
	u32 loginuid;
	u32 session;
	u32 user_ns;
	u32 groups;
	u64 cgroup;
	u64 cap_effective;
	u64 cap_permitted;
	u64 cap_inheritable;
	u64 cap_bounding;
	u64 cap_ambient;
};

/* How a sleep ended. End in ffi.rs. */
enum alpc_end {
	ALPC_END_DONE,
	ALPC_END_DONE_DYING,
	ALPC_END_SIGNAL,
	ALPC_END_KILLED,
	ALPC_END_TIMED_OUT,
	ALPC_END_CALLED,
};

/* Pages of one section of a copy. */
#define ALPC_SECTION_PAGES 16

/* Pages that are held: pinned, to be written to, or referenced. Pins in peer.rs. */
struct alpc_pins {
	unsigned int count;
	bool write;
	struct page *pages[ALPC_SECTION_PAGES];
};

/* What ends a fetch of pages beside a signal, and who looks. Fetch in ffi.rs. */
struct alpc_fetch {
	const bool *done;
	const bool *unwanted;
	/* By the current task's time namespace. NULL is never. */
	const ktime_t *deadline;
	clockid_t clock;
	/* The rest is the function's own. */
	struct hrtimer timer;
	struct task_struct *task;
	ktime_t expires;
	bool over;
};

/* Interrupts a task when its time is up. Alarm in ffi.rs. */
struct alpc_alarm {
	struct hrtimer timer;
	struct task_struct *task;
	bool rung;
};

struct file *alpc_shim_anon_inode_getfile(const char *name,
					  const struct file_operations *fops,
					  void *priv, int flags, bool own_inode);
struct alpc_watch;
struct files_struct;

bool alpc_shim_is_table_ending(struct files_struct *files);
int alpc_shim_watches_begin(void (*ended)(void *), void (*forgotten)(void *));
void alpc_shim_watches_end(void);
struct alpc_watch *alpc_shim_watch(void *data);
void alpc_shim_unwatch(struct alpc_watch *watch);
u64 alpc_shim_thread_start(void);

struct dentry *alpc_shim_debugfs_make(const char *name, void *data,
				      const struct file_operations *fops);
void alpc_shim_debugfs_remove(struct dentry *directory);
unsigned long alpc_shim_totalram_pages(void);
struct page *alpc_shim_alloc_page(void);
void alpc_shim_free_page(struct page *page);
vm_fault_t alpc_shim_insert_pages(struct vm_area_struct *vma, unsigned long addr,
				  struct page *const *pages, u32 count);
int alpc_shim_set_up_mapping(struct vm_area_struct *vma,
			     const struct vm_operations_struct *ops, void *data,
			     unsigned long pages, bool writable);
long alpc_shim_map(struct file *file, size_t size, bool writable);
void *alpc_shim_kvmalloc(size_t size);
int alpc_shim_copy_from_user_72(u64 *to, const u64 __user *from);
int alpc_shim_copy_to_user_80(u64 __user *to, const u64 *from);
u32 alpc_shim_file_kind(struct file *file);
bool alpc_shim_put_unless_last(struct file *file);
void alpc_shim_close_last(struct file *file);
bool alpc_shim_is_compat(void);
void alpc_shim_identity_get(struct alpc_identity *id);
void alpc_shim_identity_hold(const struct alpc_identity *id);
void alpc_shim_identity_show(struct alpc_identity *id);
void alpc_shim_identity_hide(struct alpc_identity *id);
void alpc_shim_origin_get(struct alpc_origin *origin);
void alpc_shim_identity_seen(const struct alpc_identity *id, struct alpc_seen *seen);
void alpc_shim_identity_told(const struct alpc_identity *id, const struct alpc_origin *origin,
			     struct alpc_told *told);
u32 alpc_shim_identity_group(const struct alpc_identity *id, u32 index);
bool alpc_shim_identity_is_labeled(const struct alpc_identity *id, const char *label, u32 len);
u32 alpc_label_get(const struct alpc_identity *id, struct lsm_context *context);
bool alpc_shim_is_audited(void);
bool alpc_shim_audit_impersonation(const struct alpc_identity *sender, const char *name, u32 len,
				   u64 lost);
bool alpc_shim_identity_is_attached(const struct alpc_identity *id);
long alpc_shim_identity_label(const struct alpc_identity *id, char __user *to, u32 room);
bool alpc_shim_may_change_creds(void);
u32 alpc_shim_cred_group(const struct cred *cred, u32 index);
bool alpc_shim_has_user(u32 id);
bool alpc_shim_has_group(u32 id);
bool alpc_shim_may_set_users(void);
bool alpc_shim_may_set_group(void);
bool alpc_shim_may_set_groups(void);
bool alpc_shim_is_superuser(u32 id);
u64 alpc_shim_fs_capabilities(void);
const struct cred *alpc_shim_take_on(const struct cred *as, bool groups, u64 capabilities);
int alpc_shim_revert(const struct cred *before, const struct cred *taken);
u64 alpc_shim_ipc_ns_id(void);
u64 alpc_shim_user_ns_id(const struct user_namespace *ns);
struct user_namespace *alpc_shim_ipc_user_ns(void);
ktime_t alpc_shim_monotonic(void);
bool alpc_shim_is_over(ktime_t time, clockid_t clock);
enum alpc_end alpc_shim_sleep(const bool *done, const bool *called, const ktime_t *deadline,
			      clockid_t clock);
void alpc_shim_wake_up_and_yield(struct task_struct *task);
void alpc_shim_faults_off(void);
void alpc_shim_faults_on(void);
void alpc_shim_stay_begin(void);
void alpc_shim_stay_end(void);
struct task_struct *alpc_shim_hand_over_begin(void);
void alpc_shim_hand_over_abort(void);
enum alpc_end alpc_shim_hand_over(struct task_struct *task, const bool *done);
bool alpc_shim_is_user_range(u64 addr, u64 length);
int alpc_shim_pin(struct mm_struct *mm, unsigned long theirs, unsigned int length, bool write,
		  struct alpc_pins *pins);
unsigned int alpc_shim_copy(struct page *held, unsigned int offset, char __user *own,
			    unsigned int length, bool write);
bool alpc_shim_write_begin(struct page *page);
void alpc_shim_write_end(struct page *page);
void alpc_shim_unpin(struct alpc_pins *pins);
int alpc_shim_fetch(unsigned long start, unsigned int length, bool write,
		    struct alpc_pins *pins, struct alpc_fetch *fetch);
int alpc_shim_bring_in(unsigned long start, unsigned int length, struct alpc_fetch *fetch);
unsigned int alpc_shim_write_own(char __user *own, const char *bytes, unsigned int length);
size_t alpc_shim_fault_in(char __user *own, size_t length, bool write);
bool alpc_shim_mmput_unless_last(struct mm_struct *mm);
void alpc_shim_mmput_last(struct mm_struct *mm);
void alpc_shim_wake(struct task_struct *task);
void alpc_shim_alarm_set(struct alpc_alarm *alarm, ktime_t time, clockid_t clock);
bool alpc_shim_alarm_end(struct alpc_alarm *alarm);
void alpc_shim_pause(void);

#endif /* ALPC_SHIM_H */
