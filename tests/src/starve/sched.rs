// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which processor a process has, and how much of it.

use std::fs;

/// The processor of the stranger and its hogs.
pub const STRANGERS: usize = 0;
/// The processor of the victim.
pub const VICTIMS: usize = 1;

/// Whether there are two processors to be had.
pub fn two_processors() -> bool {
    // SAFETY: Takes no pointer.
    unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) >= 2 }
}

/// Binds the calling thread, and all that it makes from now on, to one processor.
pub fn pin(processor: usize) {
    move_to(0, processor);
}

/// Binds one thread to one processor, the calling one if it is 0.
pub fn move_to(thread: i32, processor: usize) {
    // SAFETY: A set of zeroes is valid, and it is live for the call.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(thread, std::mem::size_of_val(&set), &set)
    };
    let error = std::io::Error::last_os_error();
    assert_eq!(result, 0, "processor {processor}: {error}");
}

/// Gives a process, all threads of it, what nobody else wants of its processor. Anybody may do
/// that to a process of its own.
pub fn starve(pid: i32) {
    schedule(pid, libc::SCHED_IDLE);
}

/// Gives it an equal part again.
pub fn unstarve(pid: i32) {
    schedule(pid, libc::SCHED_OTHER);
}

fn schedule(pid: i32, policy: i32) {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    for thread in threads.flatten() {
        let name = thread.file_name();
        let tid = name.to_string_lossy().parse().expect("a number");
        schedule_thread(tid, policy);
    }
}

/// Gives one thread what nobody else wants of its processor.
pub fn idle(thread: i32) {
    schedule_thread(thread, libc::SCHED_IDLE);
}

fn schedule_thread(thread: i32, policy: i32) {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: Live parameters. A thread that has just ended is refused.
    unsafe { libc::sched_setscheduler(thread, policy, &parameters) };
}
