// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a thread is to file systems, and how it makes itself something else: by system calls that
//! the library would make for all threads.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::raw::{Accept, Create, Message, Port};
use crate::Link;

/// Capabilities, by number.
pub const CAP_DAC_OVERRIDE: u32 = 1;
pub const CAP_SETGID: u32 = 6;
pub const CAP_SETUID: u32 = 7;
/// Those that go with the superuser's access to files.
pub const OF_FILES: u64 = 0x1_0800_021f;

/// Ids that change leave capabilities alone.
pub const SECBIT_NO_SETUID_FIXUP: u64 = 1 << 2;

/// What a thread is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// Real, effective, saved, file system.
    pub users: [u32; 4],
    pub groups: [u32; 4],
    pub list: Vec<u32>,
    pub effective: u64,
    pub permitted: u64,
}

impl Me {
    /// The calling thread.
    pub fn now() -> Self {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
        Self::from_status(&status)
    }

    /// What a `status` file says.
    pub fn from_status(status: &str) -> Self {
        let line = |key: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(key)).expect("key")
        };
        let numbers = |key| -> Vec<u32> {
            let words = line(key).split_ascii_whitespace();
            words.map(|word| word.parse().expect("a number")).collect()
        };
        let mask = |key| u64::from_str_radix(line(key).trim(), 16).expect("a mask");
        Self {
            users: numbers("Uid:").try_into().expect("four"),
            groups: numbers("Gid:").try_into().expect("four"),
            list: numbers("Groups:"),
            effective: mask("CapEff:"),
            permitted: mask("CapPrm:"),
        }
    }

    /// File system user and group.
    pub fn fs(&self) -> (u32, u32) {
        (self.users[3], self.groups[3])
    }
}

/// A system call that takes numbers, for the calling thread alone.
#[track_caller]
fn call(number: i64, arguments: [i64; 3]) {
    let [a, b, c] = arguments;
    // SAFETY: The callers pass numbers only, or the address of what is live.
    let result = unsafe { libc::syscall(number, a, b, c) };
    let error = std::io::Error::last_os_error();
    assert_eq!(result, 0, "{error}");
}

/// `setresuid` for this thread.
#[track_caller]
pub fn set_users(real: u32, effective: u32, saved: u32) {
    let ids = [real, effective, saved].map(i64::from);
    call(libc::SYS_setresuid, ids);
}

/// `setresgid` for this thread.
#[track_caller]
pub fn set_group(id: u32) {
    call(libc::SYS_setresgid, [i64::from(id); 3]);
}

/// `setresgid` for this thread.
#[track_caller]
pub fn set_groups(real: u32, effective: u32, saved: u32) {
    let ids = [real, effective, saved].map(i64::from);
    call(libc::SYS_setresgid, ids);
}

/// `setresgid` for this thread, of the effective group alone.
#[track_caller]
pub fn set_effective_group(id: u32) {
    set_groups(u32::MAX, id, u32::MAX);
}

/// `setfsgid` for this thread, which says nothing of its success.
pub fn set_fs_group(id: u32) {
    // SAFETY: Takes no pointer.
    unsafe { libc::syscall(libc::SYS_setfsgid, i64::from(id)) };
}

/// `setgroups` for this thread.
#[track_caller]
pub fn set_list(groups: &[u32]) {
    call(
        libc::SYS_setgroups,
        [groups.len() as i64, groups.as_ptr() as i64, 0],
    );
}

/// `setfsuid` for this thread, which says nothing of its success.
pub fn set_fs_user(id: u32) {
    // SAFETY: Takes no pointer.
    unsafe { libc::syscall(libc::SYS_setfsuid, i64::from(id)) };
}

/// `capset` for this thread: takes these away.
#[track_caller]
pub fn drop_capabilities(mask: u64, permitted_too: bool) {
    let me = Me::now();
    let permitted = match permitted_too {
        true => me.permitted & !mask,
        false => me.permitted,
    };
    set_capabilities(me.effective & !mask, permitted);
}

/// `capset` for this thread.
#[track_caller]
pub fn set_capabilities(effective: u64, permitted: u64) {
    let header: [u32; 2] = [0x2008_0522, 0];
    let half = |mask: u64, high: bool| (mask >> (32 * u32::from(high))) as u32;
    let data: [u32; 6] = [
        half(effective, false),
        half(permitted, false),
        0,
        half(effective, true),
        half(permitted, true),
        0,
    ];
    let arguments = [header.as_ptr() as i64, data.as_ptr() as i64, 0];
    call(libc::SYS_capset, arguments);
}

/// A directory of a test's own that everybody can reach, gone with it.
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = format!("/tmp/place.{}.{serial}", std::process::id());
        std::fs::create_dir(&path).expect(&path);
        let place = Self(path.into());
        give(&place.0, 0, 0, 0o755);
        place
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    pub fn file(&self, name: &str, uid: u32, gid: u32, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, name).expect(name);
        give(&path, uid, gid, mode);
        path
    }

    /// A directory in it, with a file that everybody could read.
    pub fn directory(&self, name: &str, uid: u32, gid: u32, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir(&path).expect(name);
        let inner = path.join("inner");
        std::fs::write(&inner, name).expect(name);
        give(&inner, 0, 0, 0o644);
        give(&path, uid, gid, mode);
        path
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn give(path: &Path, uid: u32, gid: u32, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("chown");
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).expect("chmod");
}

/// From now on, ids and capabilities of the calling thread change apart.
pub fn part_ids_from_capabilities() {
    // SAFETY: Takes no pointer.
    let set = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// The first request that comes to a new port, once `link` has been told that there is one.
pub fn serve(name: &'static str, link: &Link, prepare: impl FnOnce()) -> (Port, Port, Message) {
    let port = Create::named(name).open().run().expect("create");
    prepare();
    link.sync();
    let asks = port.receive().expect("receive");
    let server = Accept::new(asks.id).run(&port).expect("accept");
    let request = port.receive().expect("receive");
    (port, server, request)
}
