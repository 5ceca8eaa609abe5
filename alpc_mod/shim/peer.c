// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of another process: the steps in which bytes are moved between it and
 * the current task's, for peer.rs.
 */
#include <linux/fault-inject-usercopy.h>
#include <linux/highmem.h>
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/time_namespace.h>
#include <linux/uaccess.h>
#include <linux/userfaultfd_k.h>
#include <linux/wait.h>

#include "shim.h"

/* Not even a speculated use of the range goes beyond what users may have. */
bool alpc_shim_is_user_range(u64 addr, u64 length)
{
	if (addr + length < addr || !access_ok((void __user *)addr, length))
		return false;
	barrier_nospec();
	return true;
}

/*
 * Keeps the pages at start from going away. To write to them takes pins. To read
 * takes references: what is written to a page meanwhile may be seen or not, and no
 * page that is shared after a fork() has to be copied for it.
 */
static long hold(struct mm_struct *mm, unsigned long start, unsigned int count, bool write,
		 unsigned int flags, struct page **pages, int *locked)
{
	if (write)
		return pin_user_pages_remote(mm, start, count, flags | FOLL_WRITE, pages, locked);
	return get_user_pages_remote(mm, start, count, flags, pages, locked);
}

static void let_go(struct page *page, bool write)
{
	if (write)
		unpin_user_page(page);
	else
		put_page(page);
}

/*
 * Gives up the processor if others are to have it, before something is taken that a
 * stranger may wait for. With PREEMPT_LAZY a task in the kernel is preempted a tick
 * after it was asked to give way, so one that asks itself often enough never is.
 */
static void give_way(void)
{
	if (unlikely(test_thread_flag(TIF_NEED_RESCHED_LAZY)))
		schedule();
}

/*
 * Holds the pages of up to length bytes, of ALPC_SECTION_PAGES at most, in mm, which
 * has a user: those that are there, from the first on. Waits for nobody: the lock of
 * the mm is taken if it is free, and no page is brought in. -EAGAIN if there is none.
 */
int alpc_shim_pin(struct mm_struct *mm, unsigned long theirs, unsigned int length, bool write,
		  struct alpc_pins *pins)
{
	unsigned int offset = offset_in_page(theirs);
	unsigned int pages = DIV_ROUND_UP(offset + length, PAGE_SIZE);
	long count;

	pages = min_t(unsigned int, pages, ALPC_SECTION_PAGES);
	give_way();
	if (!mmap_read_trylock(mm))
		return -EAGAIN;
	count = hold(mm, theirs - offset, pages, write, FOLL_NOFAULT, pins->pages, NULL);
	mmap_read_unlock(mm);
	if (count <= 0)
		return -EAGAIN;
	pins->count = count;
	pins->write = write;
	return 0;
}

/*
 * Moves bytes between a held page, from offset on, and own, within that page. The
 * latter are of an alpc_shim_is_user_range(), which isn't asked for each page. Only
 * what is there on this side is moved: page faults are off, so it may be called under
 * a spinlock. Gives how many bytes were moved.
 */
unsigned int alpc_shim_copy(struct page *held, unsigned int offset, char __user *own,
			    unsigned int length, bool write)
{
	unsigned int left = length;
	char *page;

	page = kmap_local_page(held);
	pagefault_disable();
	/* A page of a user is no object of the kernel's to be checked. */
	if (!should_fail_usercopy()) {
		if (write)
			left = raw_copy_from_user(page + offset, own, length);
		else
			left = raw_copy_to_user(own, page + offset, length);
	}
	pagefault_enable();
	kunmap_local(page);
	return length - left;
}

/* A page's lock is held for a moment, without being preempted. PREEMPT_RT can't do that. */
static void moment_begin(void)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_disable();
}

static void moment_end(void)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_enable();
}

static bool lock_soon(struct folio *folio)
{
	/* Another thread may hold it to copy a page. */
	for (int i = 0; i < 64; i++) {
		if (folio_trylock(folio))
			return true;
		cpu_relax();
	}
	return false;
}

/*
 * Locks a page that is pinned to be written to, if that takes no time, and marks it
 * dirty: what is written from now on until alpc_shim_write_end() can't be lost, as
 * nobody takes the mark away without the lock. Written first and marked then, bytes
 * would be lost if the lock can't be had.
 */
bool alpc_shim_write_begin(struct page *page)
{
	struct folio *folio = page_folio(page);

	for (int i = 0;; i++) {
		moment_begin();
		if (!lock_soon(folio))
			break;
		/* Memory that is never written back may not keep the mark. */
		if (likely(folio_test_dirty(folio)) || i == 2)
			return true;
		folio_unlock(folio);
		moment_end();
		/* A file system may sleep for that. */
		give_way();
		moment_begin();
		if (!lock_soon(folio))
			break;
		moment_end();
		folio_mark_dirty(folio);
		folio_unlock(folio);
	}
	moment_end();
	return false;
}

void alpc_shim_write_end(struct page *page)
{
	folio_unlock(page_folio(page));
	moment_end();
}

/* Drops pages. */
void alpc_shim_unpin(struct alpc_pins *pins)
{
	for (unsigned int i = 0; i < pins->count; i++)
		let_go(pins->pages[i], pins->write);
	pins->count = 0;
}

/*
 * Makes the pages of up to length bytes, ALPC_SECTION_PAGES at most, present in mm,
 * which has a user, and lets go of them; or makes just the first present, and keeps
 * it. 0 if the first of them is there, -EAGAIN if that is to be tried again, or
 * another negative errno.
 *
 * The lock of the mm is taken first if it is free only: nothing ends a wait for it but
 * death. What is slow to come, as from a file, is begun here and not waited for. Only
 * userfaultfd is waited for, which hears of nothing else, until a signal or
 * alpc_shim_interrupt().
 */
int alpc_shim_populate(struct mm_struct *mm, unsigned long theirs, unsigned int length,
		       bool write, struct alpc_pins *keep)
{
	unsigned int offset = offset_in_page(theirs);
	unsigned int pages = DIV_ROUND_UP(offset + length, PAGE_SIZE);
	struct page *held[ALPC_SECTION_PAGES];
	struct vm_area_struct *vma;
	int locked = 1, count;

	pages = keep ? 1 : min_t(unsigned int, pages, ALPC_SECTION_PAGES);
	give_way();
	if (!mmap_read_trylock(mm))
		return -EAGAIN;
	theirs = untagged_addr_remote(mm, theirs);
	vma = vma_lookup(mm, theirs);
	/* The next mapping may be of another kind. */
	if (vma)
		pages = min_t(unsigned long, pages, PFN_UP(vma->vm_end - theirs));
	if (vma && userfaultfd_armed(vma))
		count = hold(mm, theirs - offset, pages, write, FOLL_INTERRUPTIBLE, held, &locked);
	else
		count = hold(mm, theirs - offset, pages, write, FOLL_NOWAIT, held, NULL);
	if (locked)
		mmap_read_unlock(mm);
	if (count <= 0)
		return count ?: -EAGAIN;
	if (keep) {
		keep->pages[0] = held[0];
		keep->count = 1;
		keep->write = write;
		return 0;
	}
	for (int i = 0; i < count; i++)
		let_go(held[i], write);
	return 0;
}

/* The same on this side. Gives how many of the bytes are not there. */
size_t alpc_shim_fault_in(char __user *own, size_t length, bool write)
{
	/* What is written here need not be written in the end: nothing may change. */
	return write ? fault_in_safe_writeable(own, length) : fault_in_readable(own, length);
}

/*
 * Ends a wait of alpc_shim_populate() in a task that is in it or about to be, as a
 * signal would, once the task is woken. The task forgets it on its way back to user
 * space, so it must not have left its call before.
 */
void alpc_shim_interrupt(struct task_struct *task)
{
	set_tsk_thread_flag(task, TIF_NOTIFY_SIGNAL);
}

/* Wakes a task that has been interrupted. Any other is woken for nothing. */
void alpc_shim_wake_interrupted(struct task_struct *task)
{
	struct wait_queue_entry entry = { .private = task };

	default_wake_function(&entry, TASK_INTERRUPTIBLE, 0, NULL);
}

static enum hrtimer_restart ring(struct hrtimer *timer)
{
	struct alpc_alarm *alarm = container_of(timer, struct alpc_alarm, timer);

	WRITE_ONCE(alarm->rung, true);
	alpc_shim_interrupt(alarm->task);
	alpc_shim_wake_interrupted(alarm->task);
	return HRTIMER_NORESTART;
}

/*
 * Interrupts the current task when a time has come, which is that of its time
 * namespace. The alarm is on its stack.
 */
void alpc_shim_alarm_set(struct alpc_alarm *alarm, ktime_t time, clockid_t clock)
{
	alarm->task = current;
	alarm->rung = false;
	hrtimer_setup_on_stack(&alarm->timer, ring, clock, HRTIMER_MODE_ABS);
	hrtimer_start_range_ns(&alarm->timer, timens_ktime_to_host(clock, time),
			       current->timer_slack_ns, HRTIMER_MODE_ABS);
}

/* Ends the alarm: it does not ring any more. Tells whether it has. */
bool alpc_shim_alarm_end(struct alpc_alarm *alarm)
{
	hrtimer_cancel(&alarm->timer);
	destroy_hrtimer_on_stack(&alarm->timer);
	return READ_ONCE(alarm->rung);
}

/* Sleeps for a millisecond, or until a signal. */
void alpc_shim_pause(void)
{
	ktime_t time = ms_to_ktime(1);

	set_current_state(TASK_INTERRUPTIBLE | TASK_FREEZABLE);
	schedule_hrtimeout_range(&time, current->timer_slack_ns, HRTIMER_MODE_REL);
}
