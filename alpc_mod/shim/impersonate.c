// SPDX-License-Identifier: GPL-2.0
/*
 * What the current task is to file systems, for credentials.rs: facts of it, and the
 * change to something else and back.
 *
 * Nothing is decided here but what a revert may not give back.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/sched.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>

#include "shim.h"

/*
 * Whether the current task may change its credentials: it is about to return to a
 * program, with no others over them for the time of the call.
 */
bool alpc_shim_may_change_creds(void)
{
	return current->mm &&
	       !(current->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER | PF_EXITING)) &&
	       current->cred == current->real_cred;
}

/* The supplementary group at an index, which must be within their number. */
u32 alpc_shim_cred_group(const struct cred *cred, u32 index)
{
	return __kgid_val(cred->group_info->gid[index]);
}

bool alpc_shim_has_user(u32 id)
{
	return kuid_has_mapping(current_user_ns(), KUIDT_INIT(id));
}

bool alpc_shim_has_group(u32 id)
{
	return kgid_has_mapping(current_user_ns(), KGIDT_INIT(id));
}

/* ns_capable() asks the security modules as for anything else, which is stricter. */
bool alpc_shim_may_set_users(void)
{
	return ns_capable(current_user_ns(), CAP_SETUID);
}

bool alpc_shim_may_set_group(void)
{
	return ns_capable(current_user_ns(), CAP_SETGID);
}

/* Once setgroups() is denied in a namespace it stays so; it is before there is a map. */
bool alpc_shim_may_set_groups(void)
{
	struct user_namespace *ns = current_user_ns();

	return READ_ONCE(ns->gid_map.nr_extents) &&
	       (READ_ONCE(ns->flags) & USERNS_SETGROUPS_ALLOWED) && ns_capable(ns, CAP_SETGID);
}

bool alpc_shim_is_superuser(u32 id)
{
	return uid_eq(make_kuid(current_user_ns(), 0), KUIDT_INIT(id));
}

u64 alpc_shim_fs_capabilities(void)
{
	return CAP_FS_SET.val;
}

/*
 * Makes the current task what `as` is to file systems, with these capabilities, and
 * with its supplementary groups if `groups`. Gives a reference to the new credentials,
 * or NULL without memory.
 */
const struct cred *alpc_shim_take_on(const struct cred *as, bool groups, u64 capabilities)
{
	struct cred *new = prepare_creds();

	if (!new)
		return NULL;
	new->fsuid = as->fsuid;
	new->fsgid = as->fsgid;
	new->cap_effective.val = capabilities;
	if (groups)
		set_groups(new, as->group_info);
	get_cred(new);
	commit_creds(new);
	return new;
}

/*
 * Whether the id for files is the one that was taken on. Whatever sets another id of the
 * user or the group sets that with it, to the effective one: then it has been set, even
 * if it is the same.
 */
static bool still_user(const struct cred *now, const struct cred *taken)
{
	return uid_eq(now->fsuid, taken->fsuid) && uid_eq(now->uid, taken->uid) &&
	       uid_eq(now->euid, taken->euid) && uid_eq(now->suid, taken->suid);
}

static bool still_group(const struct cred *now, const struct cred *taken)
{
	return gid_eq(now->fsgid, taken->fsgid) && gid_eq(now->gid, taken->gid) &&
	       gid_eq(now->egid, taken->egid) && gid_eq(now->sgid, taken->sgid);
}

/* Undoes that where it is still what the task is. What else it has become stays. */
static int undo(const struct cred *before, const struct cred *taken)
{
	const struct cred *now = current_cred();
	struct cred *new = prepare_creds();

	if (!new)
		return -ENOMEM;
	/* Ids it can have without any capability, which it may have given up since. */
	if (still_user(now, taken) && !uid_eq(taken->fsuid, before->fsuid)) {
		new->fsuid = now->euid;
		if (uid_eq(before->fsuid, now->uid) || uid_eq(before->fsuid, now->suid))
			new->fsuid = before->fsuid;
	}
	if (still_group(now, taken) && !gid_eq(taken->fsgid, before->fsgid)) {
		new->fsgid = now->egid;
		if (gid_eq(before->fsgid, now->gid) || gid_eq(before->fsgid, now->sgid))
			new->fsgid = before->fsgid;
	}
	/* As setfsuid() has it, but whatever the securebits say. */
	if (!uid_eq(new->fsuid, now->fsuid) && !alpc_shim_is_superuser(__kuid_val(new->fsuid)))
		new->cap_effective = cap_drop_fs_set(new->cap_effective);
	if (now->group_info == taken->group_info)
		set_groups(new, before->group_info);
	return commit_creds(new);
}

/*
 * Makes the current task again what it was before it took that on. If nothing has changed
 * since, it has the very same credentials as before. Capabilities that something else
 * has had a hand in are not raised.
 */
int alpc_shim_revert(const struct cred *before, const struct cred *taken)
{
	if (!alpc_shim_may_change_creds())
		return -EBUSY;
	if (current_cred() == taken)
		return commit_creds((struct cred *)get_cred(before));
	return undo(before, taken);
}
