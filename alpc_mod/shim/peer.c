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
#include <linux/task_work.h>
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
 * A look-up of pages that brings nothing in never sleeps, so it is such a moment. It offers
 * to give way at each page, which comes to nothing here; but a kernel that checks who
 * offers that with preemption off would complain.
 */
static void lookup_begin(void)
{
	if (!IS_ENABLED(CONFIG_DEBUG_ATOMIC_SLEEP))
		moment_begin();
}

static void lookup_end(void)
{
	if (!IS_ENABLED(CONFIG_DEBUG_ATOMIC_SLEEP))
		moment_end();
}

/*
 * Whether a page is of a file that may be written back, or of a driver. The file system hears
 * of a write to it by the page tables of who writes. Anonymous memory, shared memory and huge
 * pages need no more than a flag.
 */
static bool is_of_file(struct page *page)
{
	struct folio *folio = page_folio(page);

	return !folio_test_anon(folio) && !folio_test_swapbacked(folio) &&
	       !folio_test_hugetlb(folio);
}

/*
 * Takes over count pages that are held, but to write to them only those before the first
 * of a file: -EXDEV if that is the first of all.
 */
static __always_inline int keep(struct alpc_pins *pins, long count, bool write)
{
	long kept = count;

	pins->write = write;
	if (write)
		for (kept = 0; kept < count && !is_of_file(pins->pages[kept]);)
			kept++;
	pins->count = kept;
	if (likely(kept == count))
		return 0;
	while (count > kept)
		let_go(pins->pages[--count], write);
	return kept ? 0 : -EXDEV;
}

/*
 * Holds the pages of up to length bytes, of ALPC_SECTION_PAGES at most, in mm, which
 * has a user: those that are there, from the first on. Waits for nobody: the lock of
 * the mm is taken if it is free, and no page is brought in. -EAGAIN if there is none,
 * -EXDEV if the first is to be written to and of a file.
 */
int alpc_shim_pin(struct mm_struct *mm, unsigned long theirs, unsigned int length, bool write,
		  struct alpc_pins *pins)
{
	unsigned int offset = offset_in_page(theirs);
	unsigned int pages = DIV_ROUND_UP(offset + length, PAGE_SIZE);
	long count = 0;

	pages = min_t(unsigned int, pages, ALPC_SECTION_PAGES);
	lookup_begin();
	if (mmap_read_trylock(mm)) {
		count = hold(mm, theirs - offset, pages, write, FOLL_NOFAULT, pins->pages, NULL);
		mmap_read_unlock(mm);
	}
	lookup_end();
	if (unlikely(count <= 0))
		return -EAGAIN;
	return keep(pins, count, write);
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
 * dirty, which is a flag: nobody takes the mark away without the lock, until
 * alpc_shim_write_end(). Written first and marked then, bytes would be lost if the lock
 * can't be had.
 */
bool alpc_shim_write_begin(struct page *page)
{
	struct folio *folio = page_folio(page);

	moment_begin();
	if (lock_soon(folio)) {
		if (unlikely(!folio_test_dirty(folio)))
			folio_mark_dirty(folio);
		return true;
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
 * Ends a wait of a task that is in it or about to be, as a signal would. The task
 * forgets it on its way back to user space, if not before.
 */
static void interrupt(struct task_struct *task)
{
	set_tsk_thread_flag(task, TIF_NOTIFY_SIGNAL);
	alpc_shim_wake(task);
}

/* Wakes a task that sleeps and may be interrupted. Any other is woken for nothing. */
void alpc_shim_wake(struct task_struct *task)
{
	struct wait_queue_entry entry = { .private = task };

	default_wake_function(&entry, TASK_INTERRUPTIBLE, 0, NULL);
}

/* Whether a time of a clock of the machine's has come. */
static bool passed(ktime_t time, clockid_t clock)
{
	switch (clock) {
	case CLOCK_REALTIME:
		return ktime_get_real() >= time;
	case CLOCK_BOOTTIME:
		return ktime_get_boottime() >= time;
	default:
		return ktime_get() >= time;
	}
}

/* Looks after a fetch that waits, every so often. */
static enum hrtimer_restart look(struct hrtimer *timer)
{
	struct alpc_fetch *fetch = container_of(timer, struct alpc_fetch, timer);

	if (!READ_ONCE(*fetch->done) && !READ_ONCE(*fetch->unwanted) &&
	    (!fetch->deadline || !passed(fetch->expires, fetch->clock))) {
		hrtimer_forward_now(timer, ms_to_ktime(1));
		return HRTIMER_RESTART;
	}
	fetch->over = true;
	interrupt(fetch->task);
	return HRTIMER_NORESTART;
}

/*
 * Holds a page of the current task's that userfaultfd brings in, which may take for
 * ever: until a signal, *done, *unwanted or the deadline. It is one at a time, as each
 * may be the last that comes. Takes the lock over.
 */
static long hold_until(struct mm_struct *mm, unsigned long start, bool write,
		       struct page **page, struct alpc_fetch *fetch)
{
	int locked = 1;
	long held;

	if (fetch->deadline)
		fetch->expires = timens_ktime_to_host(fetch->clock, *fetch->deadline);
	fetch->task = current;
	fetch->over = false;
	hrtimer_setup_on_stack(&fetch->timer, look, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	hrtimer_start(&fetch->timer, ms_to_ktime(1), HRTIMER_MODE_REL);
	held = hold(mm, start, 1, write, FOLL_INTERRUPTIBLE, page, &locked);
	if (locked)
		mmap_read_unlock(mm);
	hrtimer_cancel(&fetch->timer);
	destroy_hrtimer_on_stack(&fetch->timer);
	if (fetch->over) {
		/* What looked like a signal is over with the wait that it has ended. */
		clear_notify_signal();
		if (task_work_pending(current))
			set_thread_flag(TIF_NOTIFY_SIGNAL);
	}
	return held;
}

/* Whether userfaultfd may have to supply a page. A file's mapping it only keeps track of. */
static bool asks_userfaultfd(struct vm_area_struct *vma)
{
#ifdef CONFIG_USERFAULTFD
	return userfaultfd_armed(vma) && (vma_is_anonymous(vma) || vma->vm_ops->uffd_ops);
#else
	return false;
#endif
}

/*
 * Makes own pages present, those of up to length bytes, and holds them in pages:
 * ALPC_SECTION_PAGES at most, from the first on. Gives how many, or a negative errno:
 * -EAGAIN if that is to be tried again, -EINTR if it was ended before.
 *
 * What is slow to come, as from a file, is begun here and not waited for. Only
 * userfaultfd is waited for, which hears of nothing else.
 */
static long bring_in(unsigned long start, unsigned int length, bool write,
		     struct page **held, struct alpc_fetch *fetch)
{
	unsigned int offset = offset_in_page(start);
	unsigned int pages = DIV_ROUND_UP(offset + length, PAGE_SIZE);
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	long count;

	pages = min_t(unsigned int, pages, ALPC_SECTION_PAGES);
	/* Behind a thread that waits for the lock, this one would wait for a holder that has it. */
	if (!mmap_read_trylock(mm))
		return -EAGAIN;
	start = untagged_addr_remote(mm, start);
	vma = vma_lookup(mm, start);
	/* The next mapping may be of another kind. */
	if (vma)
		pages = min_t(unsigned long, pages, PFN_UP(vma->vm_end - start));
	if (vma && asks_userfaultfd(vma)) {
		count = hold_until(mm, start - offset, write, held, fetch);
	} else {
		count = hold(mm, start - offset, pages, write, FOLL_NOWAIT, held, NULL);
		mmap_read_unlock(mm);
	}
	return count ?: -EAGAIN;
}

/*
 * Makes own pages present and holds them for another process. 0 if the first of them is
 * there, -EXDEV if it is to be written to and of a file, or as bring_in() says.
 */
int alpc_shim_fetch(unsigned long start, unsigned int length, bool write,
		    struct alpc_pins *pins, struct alpc_fetch *fetch)
{
	long count = bring_in(start, length, write, pins->pages, fetch);

	return count < 0 ? count : keep(pins, count, write);
}

/*
 * Makes own pages of a file present, to be written to by alpc_shim_write_own(). Gives how
 * many of the bytes are on such pages, from the first on, or says what bring_in() does.
 * Other pages, secret ones say, may be behind these, and nothing is written there.
 */
int alpc_shim_bring_in(unsigned long start, unsigned int length, struct alpc_fetch *fetch)
{
	struct page *pages[ALPC_SECTION_PAGES];
	long count = bring_in(start, length, true, pages, fetch);
	long of_file = 0;

	if (count < 0)
		return count;
	while (of_file < count && is_of_file(pages[of_file]))
		of_file++;
	for (long i = 0; i < count; i++)
		let_go(pages[i], true);
	if (!of_file)
		return 0;
	return min_t(unsigned long, length, of_file * PAGE_SIZE - offset_in_page(start));
}

/*
 * Writes to memory of the current task's, as far as it is there. Page faults are off, so
 * it may be called under a spinlock. Gives how many bytes were written.
 */
unsigned int alpc_shim_write_own(char __user *own, const char *bytes, unsigned int length)
{
	unsigned int left;

	if (!access_ok(own, length))
		return 0;
	pagefault_disable();
	left = __copy_to_user_inatomic(own, bytes, length);
	pagefault_enable();
	return length - left;
}

/*
 * Makes memory of the current task's present, for itself. Gives how many of the bytes
 * are not there.
 */
size_t alpc_shim_fault_in(char __user *own, size_t length, bool write)
{
	/* What is written here need not be written in the end: nothing may change. */
	return write ? fault_in_safe_writeable(own, length) : fault_in_readable(own, length);
}

static enum hrtimer_restart ring(struct hrtimer *timer)
{
	struct alpc_alarm *alarm = container_of(timer, struct alpc_alarm, timer);

	WRITE_ONCE(alarm->rung, true);
	interrupt(alarm->task);
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
