// SPDX-License-Identifier: MIT OR Apache-2.0

//! One process, one process group and one watchdog for each test.
//!
//! libtest runs the tests one after the other, so nothing else of interest
//! happens in the process at the fork. Its output capture doesn't cross a
//! fork: panics and notes of the test travel through a pipe and become part
//! of the message with which the test fails.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::{inspect, scale};

/// Exit status of a process whose closure panicked.
pub(crate) const PANICKED: i32 = 101;

/// The write end of the report pipe, inherited by every process of a test.
static REPORT: AtomicI32 = AtomicI32::new(-1);
/// Who is speaking, for reports.
static SPEAKER: Mutex<String> = Mutex::new(String::new());

/// Runs a test body in a process of its own and fails as it does.
#[track_caller]
pub fn isolated(body: impl FnOnce()) {
    if let Err(message) = run(body, scale::patience()) {
        panic!("{message}");
    }
}

/// Runs a test body that is known to take long: with `times` the usual patience.
#[track_caller]
pub fn isolated_long(times: u32, body: impl FnOnce()) {
    if let Err(message) = run(body, scale::patience() * times) {
        panic!("{message}");
    }
}

/// What [`isolated`] does, with a patience of its own and the failure as a value.
pub fn run(body: impl FnOnce(), patience: Duration) -> Result<(), String> {
    let before = inspect::module_references();
    // Orphans of the test come to this process, which can then reap them.
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
    let (reader, writer) = pipe();

    // SAFETY: The child uses memory of its own copy and ends with _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        drop(reader);
        REPORT.store(writer.as_raw_fd(), Ordering::Relaxed);
        std::mem::forget(writer);
        // SAFETY: Changes only this process's group.
        unsafe { libc::setpgid(0, 0) };
        prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64);
        run_and_exit("", body);
    }
    drop(writer);
    // Set by both, so that it holds when either goes on. It fails harmlessly
    // when the child has ended.
    // SAFETY: Only the child is touched.
    unsafe { libc::setpgid(child, child) };

    let mut report = File::from(reader);
    let mut said = Vec::new();
    let deadline = Instant::now() + patience;
    let status = loop {
        drain(&mut report, &mut said);
        if let Some(status) = reap(child) {
            break Some(status);
        }
        if Instant::now() >= deadline {
            break None;
        }
        wait_for(&report, child);
    };

    let mut trouble = None;
    if status.is_none() {
        let mut stuck = inspect::descendants(child);
        stuck.insert(0, child);
        trouble = Some(format!(
            "hung for {} s:\n{}",
            patience.as_secs(),
            inspect::describe(&stuck)
        ));
    }
    if let Err(left) = end_everything(child) {
        trouble = Some(format!(
            "{}\ncan't be killed:\n{left}",
            trouble.unwrap_or_default()
        ));
    }
    drain(&mut report, &mut said);
    if let Some(status) = status {
        trouble = trouble.or(explain(status));
    }
    let said = String::from_utf8_lossy(&said);
    match trouble {
        Some(trouble) => Err(format!("{trouble}\n{said}")),
        None => {
            if !said.is_empty() {
                // Past the capture, so that a seed is seen of passes as well.
                let _ = writeln!(std::io::stderr().lock(), "\n{}", said.trim_end());
            }
            balanced(before)
        }
    }
}

/// The module must be referenced as often as before the test: nothing may
/// outlive its descriptors. The last put may be a moment late.
fn balanced(before: Option<i64>) -> Result<(), String> {
    let Some(before) = before else { return Ok(()) };
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match inspect::module_references() {
            // A test may have unloaded and loaded the module.
            None => return Ok(()),
            Some(now) if now <= before => return Ok(()),
            Some(now) if Instant::now() >= deadline => {
                return Err(format!("module references: {before} before, {now} after"))
            }
            Some(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Runs `body` and ends the process: 0, or [`PANICKED`] with a report.
pub(crate) fn run_and_exit(name: &str, body: impl FnOnce()) -> ! {
    *SPEAKER.lock().unwrap_or_else(|e| e.into_inner()) = name.to_string();
    panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("thread").to_string();
        report(&format!("[{thread}] {info}"));
        // At once: another thread may wait for this one for ever.
        // SAFETY: Ends the process without running libtest's exit handlers.
        unsafe { libc::_exit(PANICKED) }
    }));
    body();
    // SAFETY: As above.
    unsafe { libc::_exit(0) }
}

/// Sends one line to whoever runs the test.
pub fn report(text: &str) {
    let fd = REPORT.load(Ordering::Relaxed);
    let name = SPEAKER.lock().map(|n| n.clone()).unwrap_or_default();
    let line = if name.is_empty() {
        format!("{text}\n")
    } else {
        format!("{name}: {text}\n")
    };
    if fd < 0 {
        eprint!("{line}");
        return;
    }
    // SAFETY: The descriptor stays open for the life of the process; the
    // wrapper must not close it.
    let mut pipe = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    let _ = pipe.write_all(line.as_bytes());
}

/// The report pipe, for those who close descriptors wholesale.
pub(crate) fn report_fd() -> RawFd {
    REPORT.load(Ordering::Relaxed)
}

/// What a wait status means, `None` for success.
pub(crate) fn explain(status: i32) -> Option<String> {
    if libc::WIFEXITED(status) {
        match libc::WEXITSTATUS(status) {
            0 => None,
            PANICKED => Some("panicked".into()),
            code => Some(format!("exited with status {code}")),
        }
    } else {
        Some(format!("ended by signal {}", libc::WTERMSIG(status)))
    }
}

/// The status of an ended child, without waiting for it.
fn reap(child: i32) -> Option<i32> {
    let mut status = 0;
    // SAFETY: A live status word.
    let got = unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) };
    (got == child).then_some(status)
}

/// Kills and reaps all that the test left, however it regrouped itself.
fn end_everything(child: i32) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    // SAFETY: The group holds the test's processes only.
    unsafe { libc::kill(-child, libc::SIGKILL) };
    loop {
        // SAFETY: A null status is allowed.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
        let left = inspect::descendants(std::process::id() as i32);
        if left.is_empty() {
            return Ok(());
        }
        for &pid in &left {
            // SAFETY: Every descendant of this process belongs to the test.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        if Instant::now() >= deadline {
            return Err(inspect::describe(&left));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sleeps until the child says something or ends, at most for a while.
fn wait_for(report: &File, child: i32) {
    // SAFETY: Makes a new descriptor, or fails when the child has ended.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child, 0) } as RawFd;
    // SAFETY: Just opened, owned by nobody else.
    let _owned = (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) });
    let entry = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut entries = [entry(report.as_raw_fd()), entry(fd)];
    // SAFETY: Two live entries; a negative descriptor is ignored.
    unsafe { libc::poll(entries.as_mut_ptr(), 2, 1000) };
}

fn drain(report: &mut File, said: &mut Vec<u8>) {
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = report.read(&mut chunk) {
        said.extend_from_slice(&chunk[..length]);
    }
}

/// A pipe whose read end doesn't block.
fn pipe() -> (OwnedFd, OwnedFd) {
    let mut fds = [-1; 2];
    // SAFETY: Two live descriptors slots; both results are owned here.
    unsafe {
        assert_eq!(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC), 0);
        assert_eq!(libc::fcntl(fds[0], libc::F_SETFL, libc::O_NONBLOCK), 0);
        (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
    }
}

pub(crate) fn prctl(option: i32, value: u64) {
    // SAFETY: The options used take one plain value.
    let result = unsafe { libc::prctl(option, value, 0, 0, 0) };
    assert_eq!(
        result,
        0,
        "prctl {option}: {}",
        std::io::Error::last_os_error()
    );
}
