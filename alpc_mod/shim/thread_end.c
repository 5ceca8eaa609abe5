// SPDX-License-Identifier: GPL-2.0
/*
 * The ends of threads. Thousands of threads may end that nobody asks about, so the
 * kernel's tracepoint is answered by a look into a hash table, with nothing locked.
 * What is to be done about an end is done by a worker.
 */
#include <linux/hashtable.h>
#include <linux/list.h>
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
 * A thread that is watched, once in the table however often that is: a thread that ends
 * looks through those of others who are in the same place. One reference is that of the
 * watches, and one the worker's from the thread's end until it has told all of that.
 */
struct life {
	struct hlist_node node;
	struct rcu_head rcu;
	struct work_struct work;
	refcount_t references;
	/* Only compared: the thread may be gone. No other has both. */
	const struct task_struct *thread;
	u64 start;
	/* Those that have not been told. Guarded by watches_lock. */
	struct list_head watches;
	/* All there are. Guarded by watches_lock. */
	unsigned long count;
};

/* One watch. There is a reference of its owner's, and one of the worker's while it tells. */
struct alpc_watch {
	struct list_head node;
	refcount_t references;
	struct life *life;
	void *data;
};

static DEFINE_HASHTABLE(lives, 10);
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
	kfree(watch);
}

static void put_life(struct life *life)
{
	if (refcount_dec_and_test(&life->references))
		kfree_rcu(life, rcu);
}

/* Tells of all that has not been told. */
static void work(struct work_struct *work)
{
	struct life *life = container_of(work, struct life, work);
	struct alpc_watch *watch;

	for (;;) {
		spin_lock(&watches_lock);
		watch = list_first_entry_or_null(&life->watches,
						 struct alpc_watch, node);
		if (watch) {
			/* It is its owner's, who takes it off before that ends. */
			list_del_init(&watch->node);
			refcount_inc(&watch->references);
		}
		spin_unlock(&watches_lock);
		if (!watch)
			break;
		tell(watch->data);
		put(watch);
		cond_resched();
	}
	put_life(life);
}

/* Called with preemption off, or not to be slept in. Of the thread itself. */
static void probe(void *unused, struct task_struct *thread, bool group_dead)
{
	struct life *life;

	if (!atomic_read(&count))
		return;
	rcu_read_lock();
	hash_for_each_possible_rcu(lives, life, node, (unsigned long)thread) {
		if (life->thread != thread ||
		    !refcount_inc_not_zero(&life->references))
			continue;
		/* One that ended before may have had the address, and wait still. */
		if (!queue_work(queue, &life->work))
			put_life(life);
	}
	rcu_read_unlock();
}

static void find(struct tracepoint *tracepoint, void *unused)
{
	if (!strcmp(tracepoint->name, "sched_process_exit"))
		exits = tracepoint;
}

/*
 * The current thread in the table, or null. A thread that had the same address and has
 * ended may be there too until all is told: that has begun, so it is not taken for this.
 */
static struct life *of_current(void)
{
	struct life *life;

	hash_for_each_possible(lives, life, node, (unsigned long)current) {
		if (life->thread == current && life->start == current->start_time)
			return life;
	}
	return NULL;
}

struct alpc_watch *alpc_shim_watch(void *data)
{
	struct life *life, *fresh;
	struct alpc_watch *watch;

	watch = kmalloc(sizeof(*watch), GFP_NOWAIT | __GFP_ACCOUNT);
	fresh = kmalloc(sizeof(*fresh), GFP_NOWAIT | __GFP_ACCOUNT);
	if (!watch || !fresh) {
		kfree(watch);
		kfree(fresh);
		return NULL;
	}
	refcount_set(&watch->references, 1);
	watch->data = data;
	INIT_WORK(&fresh->work, work);
	INIT_LIST_HEAD(&fresh->watches);
	refcount_set(&fresh->references, 1);
	fresh->thread = current;
	fresh->start = current->start_time;
	fresh->count = 0;
	atomic_inc(&count);
	spin_lock(&watches_lock);
	life = of_current();
	if (!life) {
		life = fresh;
		fresh = NULL;
		hash_add_rcu(lives, &life->node, (unsigned long)current);
	}
	watch->life = life;
	life->count++;
	list_add_tail(&watch->node, &life->watches);
	spin_unlock(&watches_lock);
	kfree(fresh);
	return watch;
}

void alpc_shim_unwatch(struct alpc_watch *watch)
{
	struct life *life = watch->life;
	bool last;

	spin_lock(&watches_lock);
	list_del_init(&watch->node);
	last = !--life->count;
	if (last)
		hash_del_rcu(&life->node);
	spin_unlock(&watches_lock);
	atomic_dec(&count);
	if (last)
		put_life(life);
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
