// SPDX-License-Identifier: MIT OR Apache-2.0

//! What gives a process rights: its capabilities, and the namespaces that these are over.

use crate::{Link, Peer, ROOT};

/// Its owner may do with IPC objects what they do.
pub const CAP_IPC_OWNER: u32 = 15;
/// Acts as the owner of files, and of ports.
pub const CAP_FOWNER: u32 = 3;
/// All that there are, or may be.
pub const ALL_CAPABILITIES: u64 = u64::MAX;

/// Puts the caller into new namespaces.
pub fn unshare(what: i32) {
    // SAFETY: Takes no pointer; the caller has one thread.
    let result = unsafe { libc::unshare(what) };
    assert_eq!(result, 0, "unshare: {}", std::io::Error::last_os_error());
}

/// Maps ids of the process `pid`, which is in a new user namespace.
pub fn map_ids(pid: i32, map: &str) {
    for file in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{pid}/{file}"), map).expect(file);
    }
}

/// Runs `body` as root of a new user namespace with these ids, and of other new namespaces that
/// belong to it.
pub fn nested(map: &str, others: i32, body: impl FnOnce(&Link)) -> Peer {
    let inside = Peer::spawn(ROOT, |link| {
        unshare(libc::CLONE_NEWUSER | others);
        link.sync();
        link.sync();
        // SAFETY: Plain numbers; one thread.
        unsafe {
            assert_eq!(libc::setresgid(0, 0, 0), 0);
            assert_eq!(libc::setresuid(0, 0, 0), 0);
        }
        body(link);
    });
    inside.sync();
    map_ids(inside.pid(), map);
    inside.sync();
    inside
}

/// Gives up all capabilities of the calling thread but these.
pub fn keep_capabilities(mask: u64) {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    // Effective, permitted, inheritable: of the low half first.
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: Both live, and as that version has them.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_capget, &header, &mut sets), 0);
        for (half, set) in sets.iter_mut().enumerate() {
            let kept = (mask >> (32 * half)) as u32;
            *set = [set[0] & kept, set[1] & kept, 0];
        }
        assert_eq!(libc::syscall(libc::SYS_capset, &header, &sets), 0);
    }
}

/// Makes this the effective user of the calling thread. Root that becomes somebody else keeps
/// the right to come back.
pub fn become_effective(uid: u32) {
    // SAFETY: Plain numbers; the effective id of this thread only.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, -1, uid, -1) };
    assert_eq!(result, 0, "setresuid: {}", std::io::Error::last_os_error());
}
