// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running one program under a watchdog, as PID 1: whatever else dies in the
//! meantime is reaped along the way.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// How a program ended.
#[derive(PartialEq)]
pub enum End {
    Exited(i32),
    Killed(i32),
    TimedOut,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Exited(0) => write!(f, "ok"),
            End::Exited(code) => write!(f, "exit status {code}"),
            End::Killed(signal) => write!(f, "killed by signal {signal}"),
            End::TimedOut => write!(f, "timed out"),
        }
    }
}

/// A signal set with SIGCHLD alone, blocked in this process so that
/// sigtimedwait() can wait for it.
fn block_sigchld() -> libc::sigset_t {
    // SAFETY: The set is initialised by sigemptyset() before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        set
    }
}

/// Reaps one dead child, if there is one.
fn reap() -> Option<(libc::pid_t, libc::c_int)> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// Waits for `pid` until `deadline`.
fn wait_for(pid: libc::pid_t, deadline: Option<Instant>) -> End {
    let set = block_sigchld();
    loop {
        while let Some((dead, status)) = reap() {
            if dead == pid {
                return match libc::WIFSIGNALED(status) {
                    true => End::Killed(libc::WTERMSIG(status)),
                    false => End::Exited(libc::WEXITSTATUS(status)),
                };
            }
        }
        // With no deadline, look again every minute: costs nothing.
        let left = deadline.map_or(Duration::from_secs(60), |d| {
            d.saturating_duration_since(Instant::now())
        });
        if left.is_zero() {
            return End::TimedOut;
        }
        let timeout = libc::timespec {
            tv_sec: left.as_secs() as libc::time_t,
            tv_nsec: left.subsec_nanos().into(),
        };
        // SAFETY: Set and timeout are valid; no information is asked for.
        unsafe { libc::sigtimedwait(&set, std::ptr::null_mut(), &timeout) };
    }
}

/// Runs `command` in a session of its own until it ends or `timeout` is over.
/// On a timeout the kernel's view of all blocked and running tasks goes to its
/// log before the session is killed. With `terminal` the session owns the
/// terminal, which hangs up for everybody when it ends.
pub fn run(command: &mut Command, timeout: Option<Duration>, terminal: bool) -> io::Result<End> {
    block_sigchld();
    // SAFETY: All calls are async-signal-safe, and the set is initialised before it is used.
    unsafe {
        command.pre_exec(move || {
            // A program inherits what is blocked, and a shell that never hears of SIGCHLD waits
            // for ever.
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
            libc::setsid();
            if terminal {
                libc::ioctl(0, libc::TIOCSCTTY, 0);
            }
            Ok(())
        });
    }
    let pid = command.spawn()?.id() as libc::pid_t;
    let end = wait_for(pid, timeout.map(|t| Instant::now() + t));
    if end == End::TimedOut {
        println!(
            "init: no end after {} s; the stacks of all tasks are in the kernel's log",
            timeout.unwrap_or_default().as_secs()
        );
        show_stacks();
    }
    kill_rest();
    Ok(end)
}

/// Has the kernel write the stacks of all tasks to its log, between two lines that tell them
/// from those that speak of trouble.
fn show_stacks() {
    // Stacks are information to the kernel, which its console leaves out.
    let _ = std::fs::write("/proc/sys/kernel/printk", "8");
    let _ = std::fs::write("/dev/kmsg", "init: all stacks follow");
    for key in ["w", "l", "t"] {
        let _ = std::fs::write("/proc/sysrq-trigger", key);
    }
    let _ = std::fs::write("/dev/kmsg", "init: all stacks are shown");
}

/// Nothing that a program started outlives it: the next one must meet a quiet
/// machine and an unused module.
fn kill_rest() {
    // SAFETY: Signals every process but this one, which is PID 1.
    unsafe { libc::kill(-1, libc::SIGKILL) };
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        // SAFETY: No status is asked for.
        let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        if pid < 0 || Instant::now() > deadline {
            return;
        }
        if pid == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
