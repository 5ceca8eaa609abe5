// SPDX-License-Identifier: GPL-2.0
/*
 * Who a task is, for cred.rs: captured when it sends, and told in the namespaces of
 * who asks.
 */
#include <linux/audit.h>
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/fault-inject-usercopy.h>
#include <linux/highuid.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/security.h>
#include <linux/uaccess.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>

#include "../../uapi/alpc.h"
#include "shim.h"

/* pid_nr_ns(), without the call. */
static inline u32 nr_in(struct pid *pid, struct pid_namespace *ns)
{
	if (ns->level <= pid->level && pid->numbers[ns->level].ns == ns)
		return pid->numbers[ns->level].nr;
	return 0;
}

/* Finds out how the sender sees itself. The first three members are there. */
void alpc_shim_identity_show(struct alpc_identity *id)
{
	id->pids = ns_of_pid(id->thread);
	id->own.pid = nr_in(id->process, id->pids);
	id->own.tid = nr_in(id->thread, id->pids);
	/*
	 * A namespace without its maps will get them, once: until then, ask it. What
	 * is mapped before it is translated stays as it is translated.
	 */
	if (!kuid_has_mapping(id->cred->user_ns, id->cred->euid) ||
	    !kgid_has_mapping(id->cred->user_ns, id->cred->egid))
		id->pids = NULL;
	id->own.uid = from_kuid_munged(id->cred->user_ns, id->cred->euid);
	id->own.gid = from_kgid_munged(id->cred->user_ns, id->cred->egid);
}

void alpc_shim_identity_hold(const struct alpc_identity *id)
{
	get_cred(id->cred);
	get_pid(id->process);
	get_pid(id->thread);
}

void alpc_shim_identity_get(struct alpc_identity *id)
{
	id->cred = get_current_cred();
	id->process = get_pid(task_tgid(current));
	id->thread = get_pid(task_pid(current));
	alpc_shim_identity_show(id);
}

/* Nobody is told of it from now on: no process has the number 0 in its own namespace. */
void alpc_shim_identity_hide(struct alpc_identity *id)
{
	id->pids = NULL;
	id->own = (struct alpc_seen) {
		.uid = overflowuid,
		.gid = overflowgid,
	};
}

static inline bool is_hidden(const struct alpc_identity *id)
{
	return !id->own.pid;
}

void alpc_shim_origin_get(struct alpc_origin *origin)
{
	rcu_read_lock();
	origin->cgroup = cgroup_id(task_dfl_cgroup(current));
	rcu_read_unlock();
	origin->loginuid = audit_get_loginuid(current);
	origin->session = audit_get_sessionid(current);
}

static noinline void seen_elsewhere(const struct alpc_identity *id, struct alpc_seen *seen)
{
	struct pid_namespace *pids = ns_of_pid(task_pid(current));
	struct user_namespace *users = current_user_ns();

	if (is_hidden(id)) {
		*seen = id->own;
		return;
	}
	seen->pid = nr_in(id->process, pids);
	seen->tid = nr_in(id->thread, pids);
	seen->uid = from_kuid_munged(users, id->cred->euid);
	seen->gid = from_kgid_munged(users, id->cred->egid);
}

void alpc_shim_identity_seen(const struct alpc_identity *id, struct alpc_seen *seen)
{
	if (likely(ns_of_pid(task_pid(current)) == id->pids &&
		   current_user_ns() == id->cred->user_ns))
		*seen = id->own;
	else
		seen_elsewhere(id, seen);
}

/* Fills in all of an identity that has a fixed size. The origin may be NULL. */
void alpc_shim_identity_told(const struct alpc_identity *id, const struct alpc_origin *origin,
			     struct alpc_told *told)
{
	const struct cred *cred = id->cred;
	struct user_namespace *users = current_user_ns(), *above = cred->user_ns;

	if (is_hidden(id)) {
		*told = (struct alpc_told) {
			.uid = overflowuid,
			.euid = overflowuid,
			.suid = overflowuid,
			.fsuid = overflowuid,
			.gid = overflowgid,
			.egid = overflowgid,
			.sgid = overflowgid,
			.fsgid = overflowgid,
			.loginuid = -1,
			.session = -1,
			.user_ns = ALPC_USER_NS_OTHER,
		};
		return;
	}
	*told = (struct alpc_told) {
		.uid = from_kuid_munged(users, cred->uid),
		.euid = from_kuid_munged(users, cred->euid),
		.suid = from_kuid_munged(users, cred->suid),
		.fsuid = from_kuid_munged(users, cred->fsuid),
		.gid = from_kgid_munged(users, cred->gid),
		.egid = from_kgid_munged(users, cred->egid),
		.sgid = from_kgid_munged(users, cred->sgid),
		.fsgid = from_kgid_munged(users, cred->fsgid),
		/* As /proc has it: what is unknown here is as good as none. */
		.loginuid = origin ? from_kuid(users, origin->loginuid) : -1,
		.session = origin ? origin->session : -1,
		.groups = cred->group_info->ngroups,
		.cgroup = origin ? origin->cgroup : 0,
	};
	if (above == users) {
		told->user_ns = ALPC_USER_NS_SAME;
		told->cap_effective = cred->cap_effective.val;
		told->cap_permitted = cred->cap_permitted.val;
		told->cap_inheritable = cred->cap_inheritable.val;
		told->cap_bounding = cred->cap_bset.val;
		told->cap_ambient = cred->cap_ambient.val;
		return;
	}
	while (above && above != users)
		above = above->parent;
	told->user_ns = above ? ALPC_USER_NS_BELOW : ALPC_USER_NS_OTHER;
}

/* The supplementary group at an index, which must be within their number. */
u32 alpc_shim_identity_group(const struct alpc_identity *id, u32 index)
{
	return from_kgid_munged(current_user_ns(), id->cred->group_info->gid[index]);
}

/*
 * Gets the label that the security module gives an identity, to be released, and its
 * length. 0 if there is none.
 *
 * Not every module tells the label of credentials, but each tells that of who asks: so
 * it is asked as if by the sender.
 */
u32 alpc_label_get(const struct alpc_identity *id, struct lsm_context *context)
{
	const struct cred *own;
	struct lsm_prop prop;
	int len;

	own = override_creds(id->cred);
	security_current_getlsmprop_subj(&prop);
	len = security_lsmprop_to_secctx(&prop, context, LSM_ID_UNDEF);
	revert_creds(own);
	if (len < 0)
		*context = (struct lsm_context) {};
	if (!context->context || !context->len)
		return 0;
	/* Some modules count a final 0, some don't. */
	return strnlen(context->context, context->len);
}

/*
 * Writes the label of an identity with a final 0, if it fits. Gives the bytes that it
 * takes, 0 if there is none, or -EFAULT.
 */
long alpc_shim_identity_label(const struct alpc_identity *id, char __user *to, u32 room)
{
	struct lsm_context context = {};
	u32 len = alpc_label_get(id, &context);
	long needed = len ? len + 1L : 0;

	if (needed && needed <= room &&
	    (copy_to_user(to, context.context, len) || put_user('\0', to + len)))
		needed = -EFAULT;
	security_release_secctx(&context);
	return needed;
}

/* Whether an identity has this label of so many bytes, which are not 0. */
bool alpc_shim_identity_is_labeled(const struct alpc_identity *id, const char *label, u32 len)
{
	struct lsm_context context = {};
	bool same = alpc_label_get(id, &context) == len && !memcmp(context.context, label, len);

	security_release_secctx(&context);
	return same;
}

/* Whether the process of an identity has its number still. */
bool alpc_shim_identity_is_attached(const struct alpc_identity *id)
{
	bool attached;

	rcu_read_lock();
	attached = pid_task(id->process, PIDTYPE_TGID);
	rcu_read_unlock();
	return attached;
}
