// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of another process: the steps in which bytes are moved between it and
 * the current task's, for peer.rs.
 */
#include <linux/fault-inject-usercopy.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "shim.h"

bool alpc_shim_is_user_range(u64 addr, u64 length)
{
	return addr + length >= addr && access_ok((void __user *)addr, length);
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
 * Drops the pages of a section, but those that were written to, have to be marked
 * dirty and are locked: who has locked a page of a file may wait for a user.
 */
static void drop_now(struct alpc_pins *pins, unsigned int count)
{
	pins->count = 0;
	for (unsigned int i = 0; i < count; i++) {
		struct page *page = pins->pages[i];
		struct folio *folio = page_folio(page);

		if (pins->write && !folio_test_dirty(folio)) {
			if (!folio_trylock(folio)) {
				pins->pages[pins->count++] = page;
				continue;
			}
			folio_mark_dirty(folio);
			folio_unlock(folio);
		}
		let_go(page, pins->write);
	}
}

/*
 * Moves up to length bytes, of at most ALPC_SECTION_PAGES pages, between theirs in
 * mm and own, without ever waiting for anything that a user can delay: only pages
 * that are there are used, on either side. If some are held already, from the first
 * on, these are used and no others.
 *
 * Returns how many were moved. If it is none: 0 if the first is missing on this
 * side, -EAGAIN if on the other. Those still held are left to alpc_shim_unpin().
 */
int alpc_shim_section(struct mm_struct *mm, unsigned long theirs, char __user *own,
		      unsigned int length, bool write, struct alpc_pins *pins)
{
	unsigned int offset = offset_in_page(theirs);
	unsigned int pages = DIV_ROUND_UP(offset + length, PAGE_SIZE);
	unsigned int moved = 0;
	int count = pins->count;

	if (unlikely(pages > ALPC_SECTION_PAGES) || !access_ok(own, length))
		return 0;
	barrier_nospec();
	if (!count) {
		if (!mmap_read_trylock(mm))
			return -EAGAIN;
		count = hold(mm, theirs - offset, pages, write, FOLL_NOFAULT, pins->pages, NULL);
		mmap_read_unlock(mm);
		if (count <= 0)
			return -EAGAIN;
		pins->write = write;
	}
	pagefault_disable();
	for (int i = 0; i < count && moved < length; i++) {
		unsigned int chunk = min_t(unsigned int, length - moved, PAGE_SIZE - offset);
		char *page = kmap_local_page(pins->pages[i]);
		unsigned int left;

		/* A page of a user is no object of the kernel's to be checked. */
		if (should_fail_usercopy())
			left = chunk;
		else if (write)
			left = raw_copy_from_user(page + offset, own + moved, chunk);
		else
			left = raw_copy_to_user(own + moved, page + offset, chunk);
		kunmap_local(page);
		moved += chunk - left;
		offset = 0;
		if (left)
			break;
	}
	pagefault_enable();
	drop_now(pins, count);
	return moved;
}

/* Drops pages. Only somebody who is killed loses that one of a file is dirty. */
void alpc_shim_unpin(struct alpc_pins *pins)
{
	for (unsigned int i = 0; i < pins->count; i++) {
		struct folio *folio = page_folio(pins->pages[i]);

		if (pins->write && !folio_lock_killable(folio)) {
			folio_mark_dirty(folio);
			folio_unlock(folio);
		}
		let_go(pins->pages[i], pins->write);
	}
	pins->count = 0;
}

/*
 * Makes the pages of up to length bytes, ALPC_SECTION_PAGES at most, present in mm,
 * which has a user, and lets go of them; or makes just the first present, and keeps
 * it. Waits for what they need, until a signal or alpc_shim_interrupt(). 0 if the
 * first of them is there, or a negative errno.
 */
int alpc_shim_populate(struct mm_struct *mm, unsigned long theirs, unsigned int length,
		       bool write, struct alpc_pins *keep)
{
	unsigned int offset = offset_in_page(theirs);
	unsigned int pages = DIV_ROUND_UP(offset + length, PAGE_SIZE);
	struct page *held[ALPC_SECTION_PAGES];
	int locked = 1, count;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	pages = keep ? 1 : min_t(unsigned int, pages, ALPC_SECTION_PAGES);
	count = hold(mm, theirs - offset, pages, write, FOLL_INTERRUPTIBLE, held, &locked);
	if (locked)
		mmap_read_unlock(mm);
	if (count <= 0)
		return count ?: -EFAULT;
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
 * signal would. The task forgets it on its way back to user space.
 */
void alpc_shim_interrupt(struct task_struct *task)
{
	struct wait_queue_entry entry = { .private = task };

	set_tsk_thread_flag(task, TIF_NOTIFY_SIGNAL);
	default_wake_function(&entry, TASK_INTERRUPTIBLE, 0, NULL);
}
