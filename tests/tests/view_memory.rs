// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the memory of views counts for: locked memory, gauges, and whom the kernel kills when
//! there is none left.

use std::os::fd::{AsFd, AsRawFd};

use alpc_tests::raw::*;
use alpc_tests::views::*;
use alpc_tests::*;

/// A figure of this process in `/proc/self/status`, in kilobytes.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.expect(name).trim_start_matches(':').trim();
    let value = value.strip_suffix(" kB").unwrap_or(value);
    value.parse().expect("a number")
}

/// All future mappings of this process are locked, and it may lock no more than 4 MiB.
fn lock_the_future() {
    let limit = libc::rlimit {
        rlim_cur: 4 << 20,
        rlim_max: 4 << 20,
    };
    // SAFETY: A live limit, and a call that takes no pointer.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit), 0);
        assert_eq!(libc::mlockall(libc::MCL_FUTURE), 0);
    }
}

/// What this thread may do, as the kernel tells it.
fn rights() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
    let is_right = |line: &&str| line.starts_with("Cap") || line.starts_with("Uid");
    let rights: Vec<_> = status.lines().filter(is_right).collect();
    rights.join("\n")
}

#[test]
fn who_locks_all_its_future_memory_receives_views_all_the_same() {
    isolated(|| {
        let (client, server) = server_peer("locked/server", ALICE, |link, port, _| {
            lock_the_future();
            link.sync();
            let (locked, rights_before) = (status("VmLck"), rights());
            let (message, view) = port.receive_view().expect("receive");
            let view = view.expect("a view");
            view.assert_holds(3);
            // Neither has the window been locked, nor does it count as if it were.
            assert!(status("VmLck") < locked + 1024, "{}", status("VmLck"));
            assert_eq!(rights(), rights_before);
            let reply = Transfer::new().send(b"").into(&message);
            let reply = reply.flags(ALPC_RELEASE);
            let mut back = ViewContainer::releasing(view.base);
            reply.with(&port, &mut back).expect("reply");
            // What is not ours to map is what it was.
            // SAFETY: A new mapping, which is refused.
            let refused = unsafe {
                let none = std::ptr::null_mut();
                let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                libc::mmap(none, 8 << 20, libc::PROT_READ, private, -1, 0)
            };
            assert_eq!(refused, libc::MAP_FAILED);
            assert_eq!(port.receive().expect("receive").data, b"without");
        });
        server.sync();
        let (_section, view) = filled(&client, 8 << 20, 3);
        let call = Transfer::new().send(b"call").receive().flags(ALPC_SYNC);
        call.lend(&client, view, 0).expect("call");
        client.one_way(b"without").expect("send");
        server.wait();
    });
}

#[test]
fn who_locks_all_its_future_memory_makes_and_lends_views_all_the_same() {
    isolated(|| {
        let (port, _end, client) = client_peer("locked/client", BOB, |_, client| {
            lock_the_future();
            let locked = status("VmLck");
            let (_section, view) = filled(&client, 8 << 20, 5);
            assert!(status("VmLck") < locked + 1024, "{}", status("VmLck"));
            // A mapping that the process makes itself is the kernel's business.
            let other = client.section(8 << 20).expect("section");
            // SAFETY: A new mapping, which is refused.
            let refused = unsafe {
                let (access, fd) = (libc::PROT_READ, other.as_fd().as_raw_fd());
                let none = std::ptr::null_mut();
                libc::mmap(none, 8 << 20, access, libc::MAP_SHARED, fd, 0)
            };
            let error = std::io::Error::last_os_error().raw_os_error();
            assert_eq!((refused, error), (libc::MAP_FAILED, Some(libc::EAGAIN)));
            let call = Transfer::new().send(b"call").receive().flags(ALPC_SYNC);
            call.lend(&client, view, ALPC_VIEW_SECURE).expect("call");
            view.assert_holds(5);
        });
        let (message, view) = port.receive_view().expect("receive");
        let view = view.expect("a view");
        view.assert_holds(5);
        let reply = Transfer::new().send(b"").into(&message);
        let mut back = ViewContainer::releasing(view.base);
        let reply = reply.flags(ALPC_RELEASE).with(&port, &mut back);
        reply.expect("reply");
        client.wait();
    });
}

/// How likely the kernel is to kill this process for want of memory.
fn score() -> u64 {
    let score = std::fs::read_to_string("/proc/self/oom_score").expect("oom_score");
    score.trim().parse().expect("a number")
}

#[test]
fn views_make_nobody_the_killers_choice() {
    isolated(|| {
        let pair = Pair::of_views();
        let (before, resident) = (score(), status("VmRSS"));
        let (_section, view) = filled(&pair.client, ALPC_SECTION_MAX.into(), 1);
        view.assert_holds(1);
        let with_views = score() - before;
        assert!(status("VmRSS") < resident + 4096, "they are not resident");
        let memory = std::hint::black_box(vec![1_u8; ALPC_SECTION_MAX as usize]);
        let with_memory = score() - before;
        drop(memory);
        assert!(
            with_views * 8 <= with_memory && with_memory > 0,
            "{with_views}, {with_memory}"
        );
    });
}

/// Lines of `fdinfo` of a descriptor.
fn fdinfo(fd: &impl AsFd, name: &str) -> Option<String> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let info = std::fs::read_to_string(path).expect("fdinfo");
    let line = info.lines().find_map(|line| line.strip_prefix(name));
    line.map(|line| line.trim_start_matches(':').trim().to_string())
}

#[test]
fn a_port_tells_what_memory_its_receivers_have_from_others() {
    isolated(|| {
        let pair = Pair::of_views();
        let held = |port| fdinfo(port, "alpc-window");
        for port in [&pair.port, &pair.client] {
            assert_eq!(held(port).as_deref(), Some("0 views, 0 bytes"));
        }
        let first = pair.lent(3 * PAGE, 1, 0);
        let second = pair.lent(PAGE, 2, ALPC_VIEW_SECURE);
        assert_eq!(held(&pair.port).as_deref(), Some("2 views, 16384 bytes"));
        assert_eq!(held(&pair.client).as_deref(), Some("0 views, 0 bytes"));
        assert_eq!(held(&pair.server), None, "it receives on the other one's");
        let own = |section| fdinfo(section, "alpc-view-bytes");
        assert_eq!(own(&first.section).as_deref(), Some("12288"));
        pair.port.delete_view(first.held.base).expect("release");
        assert_eq!(held(&pair.port).as_deref(), Some("1 views, 4096 bytes"));
        // The owner deletes what it has lent: it is who holds it that has it.
        second
            .section
            .delete_view(second.view.base)
            .expect("delete");
        assert_eq!(own(&second.section).as_deref(), Some("0"));
        assert_eq!(held(&pair.port).as_deref(), Some("1 views, 4096 bytes"));
        pair.port.delete_view(second.held.base).expect("release");
        assert_eq!(held(&pair.port).as_deref(), Some("0 views, 0 bytes"));
        let (_section, view) = filled(&pair.server, 5 * PAGE, 3);
        let send = Transfer::new().send(b"").flags(ALPC_RELEASE);
        send.lend(&pair.server, view, 0).expect("send");
        let back = pair.client.receive_view().expect("receive").1;
        assert_eq!(held(&pair.client).as_deref(), Some("1 views, 20480 bytes"));
        pair.client
            .delete_view(back.expect("a view").base)
            .expect("release");
    });
}
