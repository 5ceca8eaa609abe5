// SPDX-License-Identifier: GPL-2.0
/*
 * Which files can be sent.
 *
 * A message may hold a file for as long as it is queued, so a file that could hold a
 * port, be it through others, could keep itself for ever. What is listed here is
 * known to hold no file that a user chose, and cannot be mistaken for something
 * that does. Everything else is of no kind. Left out are, with what they can hold:
 *
 *  - AF_UNIX sockets (what is sent over them), KCM sockets (what is attached);
 *  - io_uring instances (registered files), epoll instances (watched ones), seccomp
 *    listeners, BPF maps and links (each other, perf events), and whatever else
 *    has an anonymous inode;
 *  - ALPC ports and connect descriptors (messages), /dev/alpc with them;
 *  - namespaces (mounts, and what those were given);
 *  - devices of most drivers: binder (messages in transit), FUSE, KVM, TUN, vhost, VFIO
 *    (back ends, memory of processes), loop and network block devices.
 *
 * A file system holds no more than its administrator gave its mount.
 */
#include <linux/err.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kdev_t.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <linux/mount.h>
#include <linux/net.h>
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

static u32 anon_kind(struct file *file)
{
	if (is_eventfd(file))
		return ALPC_HANDLE_EVENTFD;
	if (is_timerfd(file))
		return ALPC_HANDLE_TIMERFD;
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
	case HUGETLBFS_MAGIC:
		return S_ISREG(inode->i_mode) ? ALPC_HANDLE_MEMFD : 0;
	}
	if (S_ISREG(inode->i_mode) && shmem_mapping(inode->i_mapping))
		return ALPC_HANDLE_MEMFD;
	return 0;
}

/* Files that a path leads to. Of namespaces, one may be bound to a path. */
static u32 named_kind(struct inode *inode)
{
	if (IS_ANON_FILE(inode) || inode->i_sb->s_flags & SB_NOUSER ||
	    inode->i_sb->s_magic == NSFS_MAGIC)
		return 0;
	if (S_ISREG(inode->i_mode))
		return ALPC_HANDLE_FILE;
	if (S_ISDIR(inode->i_mode))
		return ALPC_HANDLE_DIRECTORY;
	return 0;
}

u32 alpc_shim_file_kind(struct file *file)
{
	struct inode *inode = file_inode(file);

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
	if (file->f_path.mnt->mnt_flags & MNT_INTERNAL)
		return internal_kind(file, inode);
	return named_kind(inode);
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
