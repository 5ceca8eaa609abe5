// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/alpc-floor: the least that a blocking call between two processes can cost.
 *
 * Each side makes one ioctl for each round trip. The ioctl copies bytes in, wakes
 * the one thread that waits for them, sleeps until the other side's bytes are
 * there, and copies those out. There is no identity, no queue, no check of a right,
 * and no lock. The benchmark holds a call of alpc.ko against this in the same boot.
 *
 * An open file has two sides, which processes share by fork. The size in the ioctl's
 * number is that of the message.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#define FLOOR_MAGIC	'F'
#define FLOOR_MOST	4096

/* The bits of an ioctl's number. */
#define FLOOR_SERVER	1	/* the caller is the server, else the client */
#define FLOOR_FIRST	2	/* there is nothing to send yet */

/* What one side receives in. The task holds a reference until the file's end. */
struct floor_side {
	struct task_struct *task;
	bool full;
	char data[FLOOR_MOST];
};

struct floor {
	struct floor_side client, server;
};

static int floor_attach(struct floor_side *side)
{
	/* A full barrier: a sender that saw no task here left its message before. */
	if (cmpxchg(&side->task, NULL, current))
		return -EBUSY;
	get_task_struct(current);
	return 0;
}

static int floor_send(struct floor_side *to, const void __user *from, unsigned int bytes)
{
	struct task_struct *task;

	/*
	 * As Rust code copies: bytes is checked here, and hardened usercopy, which
	 * looks the object up, would be a third of what this module adds.
	 */
	if (_copy_from_user(to->data, from, bytes))
		return -EFAULT;
	smp_store_release(&to->full, true);
	task = READ_ONCE(to->task);
	if (unlikely(!task)) {
		/* Pairs with floor_attach(). */
		smp_mb();
		task = READ_ONCE(to->task);
	}
	if (likely(task))
		wake_up_process(task);
	return 0;
}

static int floor_receive(struct floor_side *side, void __user *to, unsigned int bytes)
{
	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		if (smp_load_acquire(&side->full) || signal_pending(current))
			break;
		schedule();
		if (likely(smp_load_acquire(&side->full)))
			break;
	}
	__set_current_state(TASK_RUNNING);
	if (!smp_load_acquire(&side->full))
		return -EINTR;
	side->full = false;
	return _copy_to_user(to, side->data, bytes) ? -EFAULT : 0;
}

static long floor_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct floor *floor = file->private_data;
	unsigned int bytes = _IOC_SIZE(cmd), nr = _IOC_NR(cmd);
	bool server = nr & FLOOR_SERVER;
	struct floor_side *mine = server ? &floor->server : &floor->client;
	struct floor_side *other = server ? &floor->client : &floor->server;
	void __user *data = (void __user *)arg;
	int rc;

	if (_IOC_TYPE(cmd) != FLOOR_MAGIC || nr > (FLOOR_SERVER | FLOOR_FIRST) || bytes > FLOOR_MOST)
		return -ENOTTY;
	if (unlikely(mine->task != current)) {
		rc = floor_attach(mine);
		if (rc)
			return rc;
	}
	if (!(nr & FLOOR_FIRST)) {
		rc = floor_send(other, data, bytes);
		if (rc)
			return rc;
	}
	return floor_receive(mine, data, bytes);
}

static int floor_open(struct inode *inode, struct file *file)
{
	file->private_data = kzalloc(sizeof(struct floor), GFP_KERNEL);
	return file->private_data ? nonseekable_open(inode, file) : -ENOMEM;
}

static int floor_release(struct inode *inode, struct file *file)
{
	struct floor *floor = file->private_data;

	if (floor->client.task)
		put_task_struct(floor->client.task);
	if (floor->server.task)
		put_task_struct(floor->server.task);
	kfree(floor);
	return 0;
}

static const struct file_operations floor_fops = {
	.owner = THIS_MODULE,
	.open = floor_open,
	.release = floor_release,
	.unlocked_ioctl = floor_ioctl,
};

static struct miscdevice floor_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "alpc-floor",
	.fops = &floor_fops,
	.mode = 0600,
};
module_misc_device(floor_device);

MODULE_DESCRIPTION("The least that a blocking call costs, for the benchmark of ALPC");
MODULE_LICENSE("GPL");
