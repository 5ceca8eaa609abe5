// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether a mechanism that tells who sent tells the truth. Each row that has
//! such a mechanism asks once, before anything is counted.

/// Ends the run unless the server was told of its client, which is its parent.
pub fn is_client(pid: u32, uid: u32) {
    // SAFETY: No arguments.
    let parent = unsafe { libc::getppid() };
    assert_eq!(
        (pid, uid),
        (parent as u32, our_uid()),
        "sender of a request"
    );
}

/// Ends the run unless the client was told of its server, which is its child.
pub fn is_server(pid: u32, uid: u32) {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: A plain structure, which is only written to.
    let is_child = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_PID, pid, &mut info, flags) == 0
    };
    assert!(is_child, "process {pid} sent a reply");
    assert_eq!(uid, our_uid(), "sender of a reply");
}

fn our_uid() -> u32 {
    // SAFETY: No arguments.
    unsafe { libc::geteuid() }
}
