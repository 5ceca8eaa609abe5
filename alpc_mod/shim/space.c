// SPDX-License-Identifier: GPL-2.0
/*
 * Ending the use of an address space, for space.rs.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "shim.h"

/* Files that are held, a page of them. */
struct held_files {
	struct held_files *next;
	unsigned int count;
	struct file *files[];
};

#define HELD_FILES ((PAGE_SIZE - sizeof(struct held_files)) / sizeof(struct file *))

/* Takes over the reference. */
static struct held_files *add_file(struct held_files *held, struct file *file)
{
	if (!held || held->count == HELD_FILES) {
		struct held_files *more = kmalloc(PAGE_SIZE, GFP_KERNEL | __GFP_NOFAIL);

		more->next = held;
		more->count = 0;
		held = more;
	}
	held->files[held->count++] = file;
	return held;
}

/* All files that the address space holds. */
static struct held_files *hold_files(struct mm_struct *mm)
{
	struct held_files *held = NULL;
	struct file *file = get_file_active((struct file __force **)&mm->exe_file);
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, 0);

	if (file)
		held = add_file(held, file);
	file = NULL;
	mmap_read_lock(mm);
	for_each_vma(vmi, vma) {
		if (!vma->vm_file || vma->vm_file == file)
			continue;
		file = get_file(vma->vm_file);
		held = add_file(held, file);
	}
	mmap_read_unlock(mm);
	return held;
}

/* Like mmput(), unless it is the last use: then nothing happens. */
bool alpc_shim_mmput_unless_last(struct mm_struct *mm)
{
	return atomic_add_unless(&mm->mm_users, -1, 1);
}

/*
 * mmput() for threads of the kernel. What fput() is given there goes to one list for
 * all of the machine, where a file that takes its time would hold up everybody's. So
 * mmput() finds no mapped file of which it has the last reference. What such a file
 * gives up itself when it is closed goes to that list still.
 */
void alpc_shim_mmput_last(struct mm_struct *mm)
{
	struct held_files *held;

	if (alpc_shim_mmput_unless_last(mm))
		return;
	held = hold_files(mm);
	mmput(mm);
	while (held) {
		struct held_files *next = held->next;

		while (held->count)
			__fput_sync(held->files[--held->count]);
		kfree(held);
		held = next;
	}
}
