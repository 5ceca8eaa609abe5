// SPDX-License-Identifier: GPL-2.0
/*
 * Records for the audit daemon, for audit.rs.
 */
#include <linux/audit.h>
#include <linux/cred.h>
#include <linux/ctype.h>
#include <linux/pid.h>
#include <linux/security.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>

#include "shim.h"

bool alpc_shim_is_audited(void)
{
	return audit_enabled != AUDIT_OFF;
}

/*
 * A field whose value somebody chose, in quotes if it is a text, or in hexadecimal digits
 * where it has what could end the quotes, the field or the record.
 */
static void log_chosen(struct audit_buffer *ab, const char *field, const char *value, u32 len,
		       const char *quote)
{
	bool plain = true;
	u32 i;

	for (i = 0; i < len; i++)
		if (!isascii(value[i]) || !isgraph(value[i]) || value[i] == '"')
			plain = false;
	if (plain) {
		audit_log_format(ab, " %s=%s%.*s%s", field, quote, (int)len, value, quote);
		return;
	}
	audit_log_format(ab, " %s=", field);
	for (i = 0; i < len; i++)
		audit_log_format(ab, "%02X", (unsigned char)value[i]);
}

/*
 * Records that the current thread has taken on the file-access identity of a sender at
 * a port, and how many such records there was no allowance for before. Says whether the
 * audit system takes it, and doesn't lose it or leave it out. In an atomic
 * context's way: who waits for an audit daemon that doesn't come waits for a minute.
 */
bool alpc_shim_audit_impersonation(const struct alpc_identity *sender, const char *name, u32 len,
				   u64 lost)
{
	struct audit_buffer *ab;
	struct lsm_context label = {};
	u32 label_len;

	ab = audit_log_start(audit_context(), GFP_ATOMIC, AUDIT_KERNEL_OTHER);
	if (!ab)
		return false;
	audit_log_format(ab, "op=alpc-impersonate");
	if (len)
		log_chosen(ab, "port", name, len, "\"");
	audit_log_format(ab, " opid=%u ouid=%u ogid=%u", pid_nr(sender->process),
			 from_kuid(&init_user_ns, sender->cred->euid),
			 from_kgid(&init_user_ns, sender->cred->egid));
	label_len = alpc_label_get(sender, &label);
	if (label_len)
		/* As the kernel has labels in all its records. */
		log_chosen(ab, "obj", label.context, label_len, "");
	security_release_secctx(&label);
	audit_log_format(ab, " lost=%llu", lost);
	audit_log_task_info(ab);
	audit_log_format(ab, " res=1");
	audit_log_end(ab);
	return true;
}
