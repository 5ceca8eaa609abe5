// SPDX-License-Identifier: MIT OR Apache-2.0

//! Looking at tasks and at the module through /proc and /sys.

use std::fs;
use std::path::Path;

/// One line of /proc/PID/stat, as far as it is needed.
struct Task {
    pid: i32,
    name: String,
    state: char,
    parent: i32,
    group: i32,
}

fn task(pid: i32) -> Option<Task> {
    task_in(Path::new(&format!("/proc/{pid}")), pid)
}

/// That of a directory in procfs. The one of a thread below its process's directory is cheap; the
/// others look at all threads of the process.
fn task_in(directory: &Path, pid: i32) -> Option<Task> {
    let stat = fs::read_to_string(directory.join("stat")).ok()?;
    // The name may hold spaces and parentheses: it ends at the last one.
    let (head, tail) = stat.rsplit_once(')')?;
    let mut fields = tail.split_whitespace();
    Some(Task {
        pid,
        name: head.split_once('(')?.1.to_string(),
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
    })
}

fn tasks() -> Vec<Task> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| task(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// The processes that `root` started, directly or not, and still run.
pub fn descendants(root: i32) -> Vec<i32> {
    let all = tasks();
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(all.iter().filter(|t| t.parent == parent).map(|t| t.pid));
        next += 1;
    }
    found.remove(0);
    found
}

/// True when every thread of the process sleeps.
pub fn sleeps(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let sleeps = |thread: fs::DirEntry| waits(&thread.path(), pid, &[FAULT]);
    threads.flatten().all(sleeps)
}

/// True when this thread of a live process sleeps, and not only until another thread of its own
/// lets go of what it needs for a moment.
pub fn thread_sleeps(tid: i32) -> bool {
    waits(Path::new(&format!("/proc/{tid}")), tid, &[FAULT, FUTEX])
}

// How /proc names where a thread is.
const FAULT: &str = "-1";
const FUTEX: &str = "202";

/// Whether a thread sleeps, and in none of these calls. On a busy machine it may be on its way only,
/// and wait for a page or a lock.
fn waits(directory: &Path, tid: i32, but: &[&str]) -> bool {
    if !task_in(directory, tid).is_some_and(|t| matches!(t.state, 'S' | 'D')) {
        return false;
    }
    // Not of every process may that be known.
    let call = fs::read_to_string(directory.join("syscall")).unwrap_or_default();
    let call = call.split_whitespace().next();
    !call.is_some_and(|call| but.contains(&call))
}

/// The processes whose name begins so.
pub fn processes_named(prefix: &str) -> Vec<i32> {
    let mut all = tasks();
    all.retain(|task| task.name.starts_with(prefix));
    all.into_iter().map(|task| task.pid).collect()
}

/// True when a process has nothing any more but its number.
pub fn has_ended(pid: i32) -> bool {
    task(pid).is_none_or(|t| t.state == 'Z')
}

/// Where each thread of these processes is, for the report of a hang.
pub fn describe(pids: &[i32]) -> String {
    let mut out = String::new();
    for &pid in pids {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let tid = thread.file_name().to_string_lossy().into_owned();
            let Some(task) = tid.parse().ok().and_then(task) else {
                continue;
            };
            let read = |what| {
                fs::read_to_string(format!("/proc/{pid}/task/{tid}/{what}")).unwrap_or_default()
            };
            out += &format!(
                "  {pid}/{tid} {} state {} group {} in {} syscall {}\n",
                task.name,
                task.state,
                task.group,
                read("wchan"),
                read("syscall").trim(),
            );
            for line in read("stack").lines() {
                out += &format!("      {line}\n");
            }
        }
    }
    out
}

/// References held on the module, `None` when it isn't loaded. Every open
/// descriptor of it is one.
pub fn module_references() -> Option<i64> {
    let text = fs::read_to_string("/sys/module/alpc/refcnt").ok()?;
    text.trim().parse().ok()
}

/// The value of one line of fdinfo, `None` without such a line.
pub fn fdinfo(fd: &impl std::os::fd::AsFd, key: &str) -> Option<String> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_string())
    })
}
