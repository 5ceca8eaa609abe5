// SPDX-License-Identifier: GPL-2.0
/*
 * Which files can be sent.
 *
 * A message may hold a file for as long as it is queued, so a file that could hold a
 * port, be it through others, could keep itself for ever. What is listed here holds no
 * file that can hold a port, and cannot be mistaken for something that does.
 * Everything else is of no kind.
 *
 * A circle through a port needs something in it that takes any file from any user:
 * these alone do, and none of them can be sent, nor does what can be sent hold one.
 *
 *  - AF_UNIX sockets (what is sent over them), KCM sockets (what is attached);
 *  - io_uring instances (registered files), iommufd (what memory is mapped from),
 *    seccomp listeners, binder (messages in transit), and so whatever has an anonymous
 *    inode or is a device, unless it is listed;
 *  - ALPC ports and connect descriptors (messages), /dev/alpc with them;
 *  - address spaces in use (mapped files), which vhost keeps.
 *
 * What is listed holds, and what that holds in turn:
 *
 *  - Files, directories and paths: their mount, thus a file system; those of procfs an
 *    unused address space, which maps nothing, or namespaces. File systems that users
 *    can mount hold directories (overlay), regular files that can be run (binfmt_misc),
 *    or BPF objects (bpf). More is an administrator's to give, by a capability over the
 *    machine: what a FUSE server passes through, the transport of 9P, an export of
 *    NFS. FUSE's own descriptor holds its file system, and is not held by it.
 *  - Sockets of these families: bytes; a network namespace; BPF programs as filters;
 *    dma-bufs that a network device writes to (netlink, TCP).
 *  - Namespaces: their user namespace and its keys; a network namespace devices, rules
 *    with BPF programs, and of sockets that tunnels were given those ends which have
 *    no file; an IPC namespace memory and queues of bytes. A mount namespace holds file
 *    systems, of which the above is true. It can't be sent by itself all the same, nor
 *    can a tree of mounts that a descriptor of O_PATH keeps: who ends that unmounts all
 *    of it, and waits for every file system that somebody has mounted there.
 *  - BPF programs hold maps; maps hold maps, programs, perf events (which hold no
 *    further file), and of sockets the ends that have no file. What was sent over a
 *    socket goes with its file.
 *  - Devices of graphics and sound: memory, fences, eventfds, an address space that
 *    they watch but don't keep, and dma-bufs. A dma-buf holds what its exporter likes.
 *    Those of the kernel hold memory, a device that is not kept open by it (VFIO), or
 *    the file that it was made by (Xen's grants, habanalabs). These files take no other
 *    of a user's than dma-bufs and eventfds, so what is imported leads to nothing but
 *    these. As who exports is an open set, a dma-buf can be sent by itself only if it
 *    is of an exporter that is known to hold memory and nothing else.
 *  - ntsync's objects: their device, which holds nothing.
 *
 * All else: bytes, numbers, memory, pids.
 */
#include <linux/dma-buf.h>
#include <linux/err.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kdev_t.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/net.h>
#include <linux/ns_common.h>
#include <linux/proc_ns.h>
#include <linux/sched.h>
#include <linux/shmem_fs.h>
#include <linux/socket.h>
#include <linux/string.h>
#include <net/sock.h>
#include <drm/drm_ioctl.h>
#include <sound/core.h>

#include "../../uapi/alpc.h"
#include "shim.h"

/* Families whose sockets queue nothing but bytes. */
static u32 socket_kind(struct file *file)
{
	struct socket *sock = sock_from_file(file);

	if (!sock || !sock->ops)
		return 0;
	switch (sock->ops->family) {
	case AF_INET:
	case AF_INET6:
	case AF_NETLINK:
	case AF_VSOCK:
		return ALPC_HANDLE_SOCKET;
	}
	return 0;
}

/*
 * A FIFO has a pipe as soon as it is open. What else calls itself one, as do the
 * files of rpc_pipefs, has none.
 */
static u32 pipe_kind(struct file *file)
{
	struct pipe_inode_info *pipe = file_inode(file)->i_pipe;

	return pipe && file->private_data == pipe ? ALPC_HANDLE_PIPE : 0;
}

/*
 * Drivers of which nobody can make their open files hold others. All these numbers
 * were given once and for all, so no other driver gets them: those that ask for
 * any get one that is free for that.
 */
static u32 char_kind(struct inode *inode)
{
	switch (imajor(inode)) {
	case MEM_MAJOR:
	case TTY_MAJOR:
	case TTYAUX_MAJOR:
	case INPUT_MAJOR:
	case CONFIG_SND_MAJOR:
	case DRM_MAJOR:
	case UNIX98_PTY_SLAVE_MAJOR ...
	     UNIX98_PTY_SLAVE_MAJOR + UNIX98_PTY_MAJOR_COUNT - 1:
		return ALPC_HANDLE_DEVICE;
	}
	return 0;
}

/* The same for disks. Others may have files or sockets behind them. */
static u32 block_kind(struct inode *inode)
{
	switch (imajor(inode)) {
	case RAMDISK_MAJOR:
	case SCSI_DISK0_MAJOR:
	case SCSI_DISK1_MAJOR ... SCSI_DISK7_MAJOR:
	case SCSI_DISK8_MAJOR ... SCSI_DISK15_MAJOR:
	case MMC_BLOCK_MAJOR:
		return ALPC_HANDLE_DEVICE;
	}
	return 0;
}

static bool is_eventfd(struct file *file)
{
	struct eventfd_ctx *ctx = eventfd_ctx_fileget(file);

	if (IS_ERR(ctx))
		return false;
	eventfd_ctx_put(ctx);
	return true;
}

/*
 * The name of an anonymous inode's file is chosen by the code that makes it and by
 * nobody else, is compared whole, and is never changed. This one is timerfd_create()'s
 * own. Code of a module is not believed.
 */
static bool is_timerfd(struct file *file)
{
	return !strcmp(file->f_path.dentry->d_name.name, "[timerfd]") &&
	       !file->f_op->owner;
}

/*
 * An event, a mutex or a semaphore: which is known to the driver alone. It may be a
 * module, which then must be the one of that name.
 */
static bool is_ntsync(struct file *file)
{
	struct module *owner = file->f_op->owner;

	if (strcmp(file->f_path.dentry->d_name.name, "ntsync"))
		return false;
	if (IS_BUILTIN(CONFIG_NTSYNC))
		return !owner;
	return owner && !strcmp(owner->name, "ntsync");
}

static u32 anon_kind(struct file *file)
{
	if (is_eventfd(file))
		return ALPC_HANDLE_EVENTFD;
	if (is_timerfd(file))
		return ALPC_HANDLE_TIMERFD;
	if (is_ntsync(file))
		return ALPC_HANDLE_NTSYNC;
	return 0;
}

/*
 * Nothing but memory: udmabuf keeps the pages of a memfd, and not its file. An
 * exporter is named by its own code, and the users' name of a dma-buf is another
 * field. Both of these are a part of the kernel, or udmabuf is the module of that
 * name. A module that exports says who it is.
 */
static u32 dma_buf_kind(struct file *file)
{
	struct dma_buf *buf = file->private_data;
	const char *name = buf->exp_name;

	if (buf->owner)
		return !strcmp(buf->owner->name, "udmabuf") ? ALPC_HANDLE_DMA_BUF : 0;
	return !strcmp(name, "udmabuf") || !strcmp(name, "system") ?
		       ALPC_HANDLE_DMA_BUF : 0;
}

/* The root of their file system, which is a directory, stands for none. */
static u32 namespace_kind(struct inode *inode)
{
	if (!S_ISREG(inode->i_mode))
		return 0;
	switch (get_proc_ns(inode)->ns_type) {
	case CLONE_NEWCGROUP:
	case CLONE_NEWIPC:
	case CLONE_NEWNET:
	case CLONE_NEWPID:
	case CLONE_NEWTIME:
	case CLONE_NEWUSER:
	case CLONE_NEWUTS:
		return ALPC_HANDLE_NAMESPACE;
	}
	return 0;
}

/* Files of the kernel's own mounts, which have no path. */
static u32 internal_kind(struct file *file, struct inode *inode)
{
	switch (inode->i_sb->s_magic) {
	case ANON_INODE_FS_MAGIC:
		return anon_kind(file);
	case PID_FS_MAGIC:
		return ALPC_HANDLE_PIDFD;
	case DMA_BUF_MAGIC:
		return dma_buf_kind(file);
	case HUGETLBFS_MAGIC:
		return S_ISREG(inode->i_mode) ? ALPC_HANDLE_MEMFD : 0;
	}
	if (S_ISREG(inode->i_mode) && shmem_mapping(inode->i_mapping))
		return ALPC_HANDLE_MEMFD;
	return 0;
}

/* Whether it is on a file system that has paths. */
static bool has_path(struct file *file, struct inode *inode)
{
	return !(file->f_path.mnt->mnt_flags & MNT_INTERNAL) &&
	       !IS_ANON_FILE(inode) && !(inode->i_sb->s_flags & SB_NOUSER) &&
	       inode->i_sb->s_magic != NSFS_MAGIC;
}

/* Files that a path leads to. */
static u32 named_kind(struct inode *inode)
{
	if (S_ISREG(inode->i_mode))
		return ALPC_HANDLE_FILE;
	if (S_ISDIR(inode->i_mode))
		return ALPC_HANDLE_DIRECTORY;
	return 0;
}

/*
 * What O_PATH has opened: a place in a file system, whatever stands there. Nothing is
 * open there: it holds neither a socket nor a device, and no module. A place
 * without a path is more than that: that of a dma-buf is the dma-buf. And with some
 * descriptors a tree of mounts ends.
 */
static u32 path_kind(struct file *file, struct inode *inode)
{
	if (file->f_mode & FMODE_NEED_UNMOUNT)
		return 0;
	return has_path(file, inode) ? ALPC_HANDLE_PATH : 0;
}

u32 alpc_shim_file_kind(struct file *file)
{
	struct inode *inode = file_inode(file);

	if (file->f_mode & FMODE_PATH)
		return path_kind(file, inode);
	/* As these have one wherever they stand, type comes before place. */
	switch (inode->i_mode & S_IFMT) {
	case S_IFSOCK:
		return socket_kind(file);
	case S_IFIFO:
		return pipe_kind(file);
	case S_IFCHR:
		return char_kind(inode);
	case S_IFBLK:
		return block_kind(inode);
	}
	/* One may be bound to a path. */
	if (inode->i_sb->s_magic == NSFS_MAGIC)
		return namespace_kind(inode);
	if (file->f_path.mnt->mnt_flags & MNT_INTERNAL)
		return internal_kind(file, inode);
	return has_path(file, inode) ? named_kind(inode) : 0;
}

/*
 * Closes the last reference to a file, for threads of the kernel. A socket is not to
 * linger: nobody is there to be told whether its last bytes have arrived, and the time
 * is whatever a user has set. They are sent all the same; a time of 0 still drops them.
 */
void alpc_shim_close_last(struct file *file)
{
	struct socket *sock = sock_from_file(file);

	if (sock && sock->sk) {
		lock_sock(sock->sk);
		if (sock->sk->sk_lingertime)
			sock_reset_flag(sock->sk, SOCK_LINGER);
		release_sock(sock->sk);
	}
	__fput_sync(file);
}

/*
 * As long as there are two references, one of them can be given up and can't be the
 * last: the count is of those beyond the first.
 */
bool alpc_shim_put_unless_last(struct file *file)
{
	return atomic_long_dec_if_positive(&file->f_ref.refcnt) >= 0;
}
