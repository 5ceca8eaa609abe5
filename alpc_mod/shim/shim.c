// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of the kernel, made callable from ffi.rs.
 */
#include <linux/anon_inodes.h>
#include <linux/compat.h>
#include <linux/cred.h>
#include <linux/debugfs.h>
#include <linux/fdtable.h>
#include <linux/fault-inject-usercopy.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/ipc_namespace.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mount.h>
#include <linux/nsproxy.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/time_namespace.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/user_namespace.h>
#include <linux/wait.h>

#include "shim.h"

/*
 * O_PATH opens the inode without the file, so without a reference to the module:
 * nothing in it is the module's, neither operations nor data.
 */
struct file *alpc_shim_anon_inode_getfile(const char *name,
					  const struct file_operations *fops,
					  void *priv, int flags, bool own_inode)
{
	if (own_inode)
		return anon_inode_create_getfile(name, fops, priv, flags, NULL);
	return anon_inode_getfile(name, fops, priv, flags);
}

/* Nobody but the last takes the count to zero, who then closes all that is in it. */
bool alpc_shim_is_table_ending(struct files_struct *files)
{
	return !atomic_read(&files->count);
}

/*
 * debugfs looks at the operations of a file when that is opened for the first time. Who
 * keeps its place with O_PATH can do that when the file has been removed, and the
 * module with the operations is gone. Of a file that has been open before, it looks
 * whether it is still there.
 */
static int debugfs_open_once(struct dentry *dentry)
{
	struct file_system_type *type = get_fs_type("debugfs");
	struct path path = { .dentry = dentry };
	struct file *file;

	if (!type)
		return -ENODEV;
	path.mnt = vfs_kern_mount(type, SB_KERNMOUNT, type->name, NULL);
	if (IS_ERR(path.mnt))
		return PTR_ERR(path.mnt);
	file = dentry_open(&path, O_RDONLY, current_cred());
	mntput(path.mnt);
	if (IS_ERR(file))
		return PTR_ERR(file);
	__fput_sync(file);
	return 0;
}

struct dentry *alpc_shim_debugfs_make(const char *name, void *data,
				      const struct file_operations *fops)
{
	struct dentry *directory = debugfs_create_dir("alpc", NULL);
	struct dentry *file;

	file = debugfs_create_file(name, 0400, directory, data, fops);
	if (IS_ERR_OR_NULL(file) || !debugfs_open_once(file))
		return directory;
	debugfs_remove(directory);
	return NULL;
}

void alpc_shim_debugfs_remove(struct dentry *directory)
{
	debugfs_remove(directory);
}

unsigned long alpc_shim_totalram_pages(void)
{
	return totalram_pages();
}

/* As alpc_shim_kvmalloc(), a page of zeroes. */
struct page *alpc_shim_alloc_page(void)
{
	return alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN | __GFP_RETRY_MAYFAIL);
}

void alpc_shim_free_page(struct page *page)
{
	__free_page(page);
}

/*
 * The first one is what the fault is about; without the others there will be
 * another fault.
 */
vm_fault_t alpc_shim_insert_pages(struct vm_area_struct *vma, unsigned long addr,
				  struct page *const *pages, u32 count)
{
	vm_fault_t result = VM_FAULT_SIGBUS;

	for (u32 i = 0; i < count; i++) {
		vm_fault_t inserted = vmf_insert_pfn(vma, addr, page_to_pfn(pages[i]));

		if (i == 0)
			result = inserted;
		if (inserted != VM_FAULT_NOPAGE)
			break;
		addr += PAGE_SIZE;
	}
	return result;
}

/*
 * Only whole, shared mappings, of page numbers and not of pages. A mapping that
 * may not be written to now may not be later.
 */
int alpc_shim_set_up_mapping(struct vm_area_struct *vma,
			     const struct vm_operations_struct *ops, void *data,
			     unsigned long pages, bool writable)
{
	if (!(vma->vm_flags & VM_SHARED) || vma->vm_pgoff || vma_pages(vma) != pages)
		return -EINVAL;
	if ((vma->vm_flags & VM_EXEC) || (!writable && (vma->vm_flags & VM_WRITE)))
		return -EACCES;
	vm_flags_mod(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP | VM_DONTCOPY,
		     VM_MAYEXEC | (writable ? 0 : VM_MAYWRITE));
	vma->vm_ops = ops;
	vma->vm_private_data = data;
	return 0;
}

/*
 * A mapping of raw page numbers is never locked, nor counted as such, but one that would
 * be is refused first, to who has asked for all of its future mappings to be locked and
 * may lock less than this one is long. The kernel's own credentials pass that check. The
 * caller's have passed all before it, and other limits are not theirs to lift.
 */
long alpc_shim_map(struct file *file, size_t size, bool writable)
{
	unsigned long prot = PROT_READ | (writable ? PROT_WRITE : 0);
	long addr = vm_mmap(file, 0, size, prot, MAP_SHARED, 0);
	const struct cred *own;

	if (addr != -EAGAIN || !(READ_ONCE(current->mm->def_flags) & VM_LOCKED))
		return addr;
	own = override_creds(kernel_cred());
	addr = vm_mmap(file, 0, size, prot, MAP_SHARED, 0);
	revert_creds(own);
	return addr;
}

bool alpc_shim_is_compat(void)
{
	return in_compat_syscall();
}

/*
 * Memory whose size a user chose. Both retry modes give up at the limit of the
 * memory cgroup, where plain GFP_KERNEL would kill somebody. Above a page the
 * weaker one keeps kvmalloc() from compacting memory before it falls back.
 */
void *alpc_shim_kvmalloc(size_t size)
{
	gfp_t retry = size <= PAGE_SIZE ? __GFP_RETRY_MAYFAIL : __GFP_NORETRY;

	return kvmalloc(size, GFP_KERNEL_ACCOUNT | __GFP_NOWARN | retry);
}

/* The part of struct alpc_transfer that the caller fills in. */
int alpc_shim_copy_from_user_72(u64 *to, const u64 __user *from)
{
	might_fault();
	if (should_fail_usercopy())
		return -EFAULT;
	scoped_user_read_access_size(from, 72, efault)
#pragma GCC unroll 9
		for (int i = 0; i < 9; i++)
			unsafe_get_user(to[i], &from[i], efault);
	return 0;
efault:	return -EFAULT;
}

/* The part of struct alpc_transfer that the kernel fills in. */
int alpc_shim_copy_to_user_80(u64 __user *to, const u64 *from)
{
	might_fault();
	if (should_fail_usercopy())
		return -EFAULT;
	scoped_user_write_access_size(to, 80, efault)
#pragma GCC unroll 10
		for (int i = 0; i < 10; i++)
			unsafe_put_user(from[i], &to[i], efault);
	return 0;
efault:	return -EFAULT;
}

u64 alpc_shim_ipc_ns_id(void)
{
	return current->nsproxy->ipc_ns->ns.ns_id;
}

u64 alpc_shim_user_ns_id(const struct user_namespace *ns)
{
	return ns->ns.ns_id;
}

struct user_namespace *alpc_shim_ipc_user_ns(void)
{
	return current->nsproxy->ipc_ns->user_ns;
}

/* CLOCK_MONOTONIC as the current task's time namespace has it. */
ktime_t alpc_shim_monotonic(void)
{
	struct timespec64 now;

	ktime_get_ts64(&now);
	timens_add_monotonic(&now);
	return timespec64_to_ktime(now);
}

/* Whether a time of a clock has come, as the current task's time namespace has that. */
bool alpc_shim_is_over(ktime_t time, clockid_t clock)
{
	ktime_t now;

	switch (clock) {
	case CLOCK_REALTIME:
		now = ktime_get_real();
		break;
	case CLOCK_BOOTTIME:
		now = ktime_get_boottime();
		break;
	default:
		now = ktime_get();
	}
	return ktime_compare(now, timens_ktime_to_host(clock, time)) >= 0;
}

/* How a sleep ended that ended with *done or with a signal. */
static __always_inline enum alpc_end how_it_ended(bool done)
{
	bool dying = fatal_signal_pending(current);

	if (done)
		return unlikely(dying) ? ALPC_END_DONE_DYING : ALPC_END_DONE;
	return dying ? ALPC_END_KILLED : ALPC_END_SIGNAL;
}

/*
 * Sleeps until *done is set, a signal is pending, *called is set, if there is one, or
 * the time has come. The state is set before these are read: a waker sets one first
 * and wakes then, so one of both is seen. The time is that of the current task's time
 * namespace.
 */
enum alpc_end alpc_shim_sleep(const bool *done, const bool *called, const ktime_t *deadline,
			      clockid_t clock)
{
	ktime_t expires = deadline ? timens_ktime_to_host(clock, *deadline) : 0;
	bool late = false;

	while (!late) {
		set_current_state(TASK_INTERRUPTIBLE | TASK_FREEZABLE);
		if (smp_load_acquire(done) || signal_pending(current))
			break;
		if (unlikely(called) && smp_load_acquire(called)) {
			__set_current_state(TASK_RUNNING);
			return ALPC_END_CALLED;
		}
		if (!deadline)
			schedule();
		else
			late = !schedule_hrtimeout_range_clock(&expires, current->timer_slack_ns,
							       HRTIMER_MODE_ABS, clock);
	}
	__set_current_state(TASK_RUNNING);
	if (late && !smp_load_acquire(done))
		return ALPC_END_TIMED_OUT;
	return how_it_ended(smp_load_acquire(done));
}

/*
 * Wakes a task for a caller that is about to sleep. The task runs next on this
 * CPU, on a warm cache, and no other CPU is disturbed. The flags are the
 * scheduler's own; default_wake_function() warns of those it does not take. It
 * looks at nothing of the entry but the task.
 */
noinline void alpc_shim_wake_up_and_yield(struct task_struct *task)
{
	const int wf_sync = 0x10, wf_current_cpu = 0x40;
	struct wait_queue_entry entry = { .private = task };

	default_wake_function(&entry, TASK_NORMAL, wf_sync | wf_current_cpu, NULL);
}

/* What a thread copies meanwhile fails where its memory isn't there. */
void alpc_shim_faults_off(void)
{
	pagefault_disable();
}

void alpc_shim_faults_on(void)
{
	pagefault_enable();
}

/* A thread that owes others a wake-up is not preempted until it has woken them. */
void alpc_shim_stay_begin(void)
{
	moment_begin();
}

void alpc_shim_stay_end(void)
{
	moment_end();
}

/*
 * Handing over takes three steps: begin, then find the task to wake under a lock
 * under which it waits, then wake it and sleep, or abort. All until the wake-up is
 * one RCU read-side section, so a task that was not dead when it was found is there
 * when it is woken, without a reference. Preemption off is the cheapest of them, but
 * with PREEMPT_RT no spinlock may be taken in it.
 */
static __always_inline void section_begin(void)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		rcu_read_lock();
	else
		preempt_disable();
}

static __always_inline void section_end(void)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		rcu_read_unlock();
	else
		preempt_enable();
}

struct task_struct *alpc_shim_hand_over_begin(void)
{
	section_begin();
	return current;
}

void alpc_shim_hand_over_abort(void)
{
	section_end();
}

/*
 * Sleeps until *done is set or a signal is pending. With a signal pending,
 * schedule() comes back at once.
 */
enum alpc_end alpc_shim_hand_over(struct task_struct *task, const bool *done)
{
	alpc_shim_wake_up_and_yield(task);
	section_end();
	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE | TASK_FREEZABLE);
		if (smp_load_acquire(done))
			break;
		schedule();
		if (likely(smp_load_acquire(done)))
			return how_it_ended(true);
		if (signal_pending(current))
			break;
	}
	__set_current_state(TASK_RUNNING);
	return how_it_ended(smp_load_acquire(done));
}
