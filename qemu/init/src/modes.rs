// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the guest can be booted for.

use crate::process::{self, End};
use crate::{leaks, module, setup, Config};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Where what is run here speaks; the first port is the kernel's.
pub const CONSOLE: &str = "/dev/ttyS1";

/// Where files leave the guest: a port of their own, since they are no text.
const FILES: &str = "/dev/ttyS2";

/// What a module that is neither the kernel's nor signed leaves behind; any
/// other mark says that something went wrong.
const TAINT_OF_OURS: u64 = (1 << 12) | (1 << 13);

pub fn run(config: &Config) -> bool {
    let ok = dispatch(config);
    let taint = std::fs::read_to_string("/proc/sys/kernel/tainted").unwrap_or_default();
    match taint.trim().parse::<u64>() {
        Ok(marks) if marks & !TAINT_OF_OURS == 0 => ok,
        _ => {
            println!("init: the kernel is tainted: {}", taint.trim());
            false
        }
    }
}

fn dispatch(config: &Config) -> bool {
    match config.mode.as_str() {
        "test" => tests(config),
        "demo" => program(Command::new("/bin/alpc-demo"), config),
        "bench" => bench(config),
        "clock" => clock(config),
        "shell" => shell(),
        "run" => programs(config),
        "probe" => true,
        other => {
            println!("init: no such mode: {other}");
            false
        }
    }
}

fn files_of(dir: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.sort();
    files
}

/// Runs one program; prints a line unless it ended well.
fn execute(mut command: Command, timeout: Option<Duration>) -> bool {
    let name = command.get_program().to_string_lossy().into_owned();
    let end = process::run(&mut command, timeout, false);
    has_ended_well(&name, end)
}

fn has_ended_well(name: &str, end: std::io::Result<End>) -> bool {
    match end {
        Ok(End::Exited(0)) => true,
        Ok(end) => {
            println!("init: {name}: {end}");
            false
        }
        Err(error) => {
            println!("init: {name}: {error}");
            false
        }
    }
}

/// The module must be free after every run, and must come back.
fn reload() -> bool {
    setup::drain();
    match module::unload().and_then(|()| module::load()) {
        Ok(()) => true,
        Err(why) => {
            println!("init: {why}");
            false
        }
    }
}

fn tests(config: &Config) -> bool {
    let files = files_of("/tests");
    let mut failed = 0;
    if !insert_drivers() {
        return false;
    }
    if let Err(why) = leaks::begin() {
        println!("init: {why}");
        return false;
    }
    for file in &files {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        println!("init: {name}");
        let start = Instant::now();
        let mut command = Command::new(file);
        command
            .args(["--test-threads=1", "--color=never"])
            .current_dir("/tmp");
        if let Some(filter) = &config.filter {
            command.arg(filter);
        }
        let mut ok = execute(command, Some(config.timeout));
        ok &= reload();
        println!(
            "init: {name}: {} in {:.2} s",
            if ok { "ok" } else { "FAILED" },
            start.elapsed().as_secs_f64()
        );
        failed += usize::from(!ok);
    }
    if files.is_empty() {
        println!("init: there are no test binaries");
    }
    println!("init: {} binaries, {failed} of them failed", files.len());
    no_leak() && failed == 0 && !files.is_empty()
}

/// What the module leaves behind when it is gone is lost.
fn no_leak() -> bool {
    match module::unload().and_then(|()| leaks::search()) {
        Ok(()) => true,
        Err(why) => {
            println!("init: {why}");
            false
        }
    }
}

fn program(command: Command, config: &Config) -> bool {
    execute(command, Some(config.timeout)) & reload()
}

/// Loads what else came along.
fn insert_drivers() -> bool {
    files_of("/drivers").iter().all(|driver| {
        let inserted = module::insert(driver, c"");
        if let Err(why) = &inserted {
            println!("init: {why}");
        }
        inserted.is_ok()
    })
}

fn bench(config: &Config) -> bool {
    if !insert_drivers() {
        return false;
    }
    // What the boot left to do would be counted too. Sleeping costs nothing
    // where time is a count of instructions.
    std::thread::sleep(Duration::from_secs(3));
    program(Command::new("/bin/alpc-bench"), config)
}

/// The benchmark against the clock; its report goes out as an archive.
fn clock(config: &Config) -> bool {
    let mut command = Command::new("/tests/clock");
    // A serial port passes for a terminal, but nobody sees lines rewritten there.
    command.args(["--bench", "--quiet", "--color=never"]);
    command.env("CRITERION_HOME", "/tmp/criterion");
    program(command, config) && {
        let sent = send_out("/tmp", "criterion");
        if let Err(why) = &sent {
            println!("init: the report stays here: {why}");
        }
        sent.is_ok()
    }
}

fn send_out(dir: &str, what: &str) -> Result<(), String> {
    // tar finds its compressor by name.
    let _ = std::os::unix::fs::symlink("/bin/busybox", "/bin/gzip");
    let port = setup::open_raw(FILES)?;
    let fd = port.as_raw_fd();
    let output = port.try_clone().map_err(|e| format!("{FILES}: {e}"))?;
    let mut tar = Command::new("/bin/busybox");
    tar.args(["tar", "-czf", "-", what]).current_dir(dir);
    tar.env("PATH", "/bin").stdout(output);
    let end = process::run(&mut tar, Some(Duration::from_secs(120)), false);
    setup::drain_of(fd);
    match end {
        Ok(End::Exited(0)) => Ok(()),
        Ok(end) => Err(format!("tar: {end}")),
        Err(error) => Err(format!("tar: {error}")),
    }
}

/// What somebody brought along: by the command line in /run.cmd, else the one program.
fn programs(config: &Config) -> bool {
    let mut command = if Path::new("/run.cmd").exists() {
        let mut shell = Command::new("/bin/sh");
        shell.arg("/run.cmd");
        shell
    } else if let Some(file) = files_of("/run").first() {
        Command::new(file)
    } else {
        println!("init: there is no program");
        return false;
    };
    if !config.terminal {
        return program(command, config);
    }
    let name = command.get_program().to_string_lossy().into_owned();
    setup::cooked();
    // Whoever sits there can end it.
    let end = process::run(&mut command, None, true);
    // The end of its session hung the terminal up for this process too.
    setup::open_console(CONSOLE).is_ok() && has_ended_well(&name, end) & reload()
}

/// A prompt on the second serial port, until its end.
fn shell() -> bool {
    for applet in [
        "sh", "ls", "cat", "ps", "dmesg", "su", "id", "grep", "kill", "less", "vi", "mount",
    ] {
        let _ = std::os::unix::fs::symlink("/bin/busybox", format!("/bin/{applet}"));
    }
    println!(
        "alpc.ko is loaded; the programs in /bin and /run are at hand.\r\n\
         `su alice` gives another user, `exit` ends the guest.\r"
    );
    let mut command = Command::new("/bin/busybox");
    command.args(["sh", "-l"]).current_dir("/root");
    command.env("PS1", "guest# ").env("PATH", "/run:/bin");
    setup::cooked();
    let _ = process::run(&mut command, None, true);
    // The end of its session hung the terminal up for this process too.
    setup::open_console(CONSOLE).is_ok()
}
