// SPDX-License-Identifier: GPL-2.0
/*
 * The ends of threads. Thousands of threads may end that nobody asks about, so the
 * kernel's tracepoint is answered by a look into a hash table, with nothing locked.
 * What is to be done about an end is done by a worker.
 */
#include <linux/hashtable.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <linux/workqueue.h>

#include "shim.h"

/*
 * One watch of one thread. There is a reference of its owner's, and one of the worker's
 * from the thread's end until it has been told of.
 */
struct alpc_watch {
	struct hlist_node node;
	struct rcu_head rcu;
	struct work_struct work;
	refcount_t references;
	/* Only compared: the thread may be gone. */
	const struct task_struct *thread;
	void *data;
};

static DEFINE_HASHTABLE(watches, 10);
static DEFINE_SPINLOCK(watches_lock);
static atomic_t count = ATOMIC_INIT(0);
static struct workqueue_struct *queue;
static struct tracepoint *exits;
static void (*tell)(void *data);
static void (*forget)(void *data);

static void put(struct alpc_watch *watch)
{
	if (!refcount_dec_and_test(&watch->references))
		return;
	forget(watch->data);
	kfree_rcu(watch, rcu);
}

/* A thread ends once, so this has the only work of a watch. */
static void work(struct work_struct *work)
{
	struct alpc_watch *watch = container_of(work, struct alpc_watch, work);

	tell(watch->data);
	put(watch);
}

/* Called with preemption off, or not to be slept in. Of the thread itself. */
static void probe(void *unused, struct task_struct *thread, bool group_dead)
{
	struct alpc_watch *watch;

	if (!atomic_read(&count))
		return;
	rcu_read_lock();
	hash_for_each_possible_rcu(watches, watch, node, (unsigned long)thread) {
		if (watch->thread == thread &&
		    refcount_inc_not_zero(&watch->references))
			queue_work(queue, &watch->work);
	}
	rcu_read_unlock();
}

static void find(struct tracepoint *tracepoint, void *unused)
{
	if (!strcmp(tracepoint->name, "sched_process_exit"))
		exits = tracepoint;
}

struct alpc_watch *alpc_shim_watch(void *data)
{
	struct alpc_watch *watch;

	watch = kmalloc(sizeof(*watch), GFP_KERNEL_ACCOUNT);
	if (!watch)
		return NULL;
	INIT_WORK(&watch->work, work);
	refcount_set(&watch->references, 1);
	watch->thread = current;
	watch->data = data;
	atomic_inc(&count);
	spin_lock(&watches_lock);
	hash_add_rcu(watches, &watch->node, (unsigned long)current);
	spin_unlock(&watches_lock);
	return watch;
}

void alpc_shim_unwatch(struct alpc_watch *watch)
{
	spin_lock(&watches_lock);
	hash_del_rcu(&watch->node);
	spin_unlock(&watches_lock);
	atomic_dec(&count);
	put(watch);
}

u64 alpc_shim_thread_start(void)
{
	return current->start_time;
}

int alpc_shim_watches_begin(void (*ended)(void *), void (*forgotten)(void *))
{
	int error;

	tell = ended;
	forget = forgotten;
	for_each_kernel_tracepoint(find, NULL);
	if (!exits)
		return -EOPNOTSUPP;
	queue = alloc_workqueue("alpc_ends", WQ_UNBOUND, 0);
	if (!queue)
		return -ENOMEM;
	error = tracepoint_probe_register(exits, probe, NULL);
	if (error) {
		destroy_workqueue(queue);
		queue = NULL;
	}
	return error;
}

void alpc_shim_watches_end(void)
{
	if (!queue)
		return;
	tracepoint_probe_unregister(exits, probe, NULL);
	tracepoint_synchronize_unregister();
	/* Waits for what it does. */
	destroy_workqueue(queue);
	queue = NULL;
}
