// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting QEMU and listening to it.
//!
//! The guest has two serial ports, and one for files where it has some to give. The kernel's console comes out of QEMU's
//! standard error, what init runs speaks through standard output (and input).

use crate::accel::Accel;
use crate::options::Options;
use crate::scan;
use crate::{bench, clock};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{mpsc, Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// QEMU's exit status when init writes its verdict to the exit device.
pub const EXIT_SUCCESS: i32 = 33;

/// What a stuck guest is given to print its stacks.
const GRACE: Duration = Duration::from_secs(20);

/// An instruction takes 8 ns: about what an emulated one takes by the clock.
const COUNTED: &str = "shift=3,sleep=off";

type Listener = thread::JoinHandle<String>;

/// All that one boot left behind.
pub struct Outcome {
    /// The exit status of QEMU; none if it was killed.
    pub status: Option<i32>,
    /// Why the guest had to be killed, if it had to be.
    pub killed: Option<&'static str>,
    pub kernel: String,
    pub guest: String,
}

fn qemu(accel: Accel, cpus: u32, memory: &str, command_line: &str) -> Command {
    let mut command = Command::new("qemu/qemu.sh");
    command.args(["-M", "q35", "-nodefaults", "-display", "none", "-no-reboot"]);
    command.args(["-accel", &accel.to_string()]);
    command.args(["-smp", &cpus.to_string(), "-m", memory]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
    command.args(["-append", command_line]);
    // A machine without its runner would run on for nobody.
    // SAFETY: prctl() is async-signal-safe and touches no memory.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    command
}

fn cpu_model(options: &Options, accel: Accel) -> &'static str {
    match (options.icount || options.counted, accel) {
        // A string instruction counts once a byte, and costs no processor that:
        // neither copies nor memset() may use it. An emulated MWAIT returns at
        // once where there are two processors: an idle one must halt instead.
        (true, Accel::Tcg) => "max,-erms,-fsrm,-fsrs,-monitor",
        (_, Accel::Kvm) => "host",
        (false, Accel::Tcg) => "max",
    }
}

/// Copies what the guest says to `log` and to standard output, as it comes.
fn listen(mut from: impl Read + Send + 'static, log: &Path) -> Result<Listener, String> {
    let mut file = File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
    Ok(thread::spawn(move || {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            let _ = file.write_all(&buffer[..n]);
            let mut stdout = std::io::stdout().lock();
            let _ = stdout.write_all(&buffer[..n]);
            let _ = stdout.flush();
            all.extend_from_slice(&buffer[..n]);
        }
        String::from_utf8_lossy(&all).into_owned()
    }))
}

/// Copies what the kernel says to `log`, by lines: shows all of them, or those that speak of
/// trouble, and notes when the kernel first said that it is stuck.
fn listen_to_kernel(
    from: impl Read + Send + 'static,
    log: &Path,
    all: bool,
    stuck: Arc<OnceLock<Instant>>,
) -> Result<Listener, String> {
    let mut file = File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
    let mut from = BufReader::new(from);
    Ok(thread::spawn(move || {
        let mut text = String::new();
        let mut line = Vec::new();
        let mut reader = scan::Reader::default();
        while let Ok(1..) = from.read_until(b'\n', &mut line) {
            let _ = file.write_all(&line);
            let words = String::from_utf8_lossy(&line);
            let trouble = reader.is_trouble(&words);
            if all || trouble {
                print!("{words}");
            }
            if scan::is_stuck(&words) {
                stuck.get_or_init(Instant::now);
            }
            text += &words;
            line.clear();
        }
        text
    }))
}

/// Waits for `child`, and kills it after `timeout`, or a while after its kernel
/// got stuck: such a guest seldom comes to an end of its own.
fn wait(
    child: &mut Child,
    timeout: Duration,
    stuck: &OnceLock<Instant>,
) -> (Option<i32>, Option<&'static str>) {
    let start = Instant::now();
    loop {
        let why = if start.elapsed() > timeout {
            "took too long"
        } else if stuck.get().is_some_and(|since| since.elapsed() > GRACE) {
            "got stuck"
        } else {
            match child.try_wait() {
                Ok(Some(status)) => return (status.code(), None),
                Ok(None) => {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                }
                Err(_) => "was lost",
            }
        };
        let _ = child.kill();
        let _ = child.wait();
        return (None, Some(why));
    }
}

/// Boots the guest that lies in `dir`, and listens until its end.
pub fn boot(options: &Options, accel: Accel, dir: &Path) -> Result<Outcome, String> {
    let mut command = qemu(
        accel,
        options.cpus,
        &options.memory,
        &options.command_line(),
    );
    command.args(["-cpu", cpu_model(options, accel)]);
    command.args([
        "-initrd",
        &format!("/repo/{}/initramfs.cpio", dir.display()),
    ]);
    if options.icount {
        command.args(["-icount", "shift=0,sleep=off"]);
        // Random numbers place the kernel and shape its tables: with the same
        // ones, and the same time of day, equal code gives equal counts.
        command.args(["-seed", "1"]);
        command.args(["-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
    }
    if options.counted && accel == Accel::Tcg {
        command.args(["-icount", COUNTED]);
    }
    if let Some(plugin) = &options.plugin {
        let (trace, counters) = (bench::trace_file(dir), bench::counters_file(dir));
        command.args([
            "-plugin",
            &format!(
                "/repo/{},out=/repo/{},counts=/repo/{}",
                plugin.display(),
                trace.display(),
                counters.display()
            ),
        ]);
    }
    command.args(["-serial", "file:/dev/stderr"]);
    if options.interactive {
        command.args([
            "-chardev",
            "stdio,id=guest,signal=off",
            "-serial",
            "chardev:guest",
        ]);
        command.stderr(Stdio::piped());
        return interactive(command, dir);
    }
    command.args(["-serial", "stdio"]);
    if options.mode == "clock" {
        command.args(["-serial", &format!("file:/repo/{}", clock::archive(dir))]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("qemu/qemu.sh: {e}"))?;
    let stdout = child.stdout.take().ok_or("no output")?;
    let stderr = child.stderr.take().ok_or("no output")?;
    let stuck = Arc::new(OnceLock::new());
    let log = dir.join("kernel.log");
    let guest = listen(stdout, &dir.join("guest.log"))?;
    let kernel = listen_to_kernel(stderr, &log, options.mode == "test", stuck.clone())?;
    let (status, killed) = wait(&mut child, options.timeout, &stuck);
    let guest = guest.join().map_err(|_| "a reader died")?;
    let kernel = kernel.join().map_err(|_| "a reader died")?;
    Ok(Outcome {
        status,
        killed,
        kernel,
        guest,
    })
}

/// Boots a guest with a person at the other end: it has no time limit, and the terminal
/// is QEMU's.
fn interactive(mut command: Command, dir: &Path) -> Result<Outcome, String> {
    let mut child = command.spawn().map_err(|e| format!("qemu/qemu.sh: {e}"))?;
    let stderr = child.stderr.take().ok_or("no output")?;
    let stuck = Arc::new(OnceLock::new());
    let kernel = listen_to_kernel(stderr, &dir.join("kernel.log"), false, stuck)?;
    let status = child.wait().map_err(|e| format!("qemu: {e}"))?.code();
    let kernel = kernel.join().map_err(|_| "a reader died")?;
    Ok(Outcome {
        status,
        killed: None,
        kernel,
        guest: "init: success\n".into(),
    })
}

/// Whether the stock kernel gets through its boot under KVM before `limit` is
/// over. Without an initramfs its last word is that it finds no root.
pub fn kvm_boots(limit: Duration) -> bool {
    let mut command = qemu(
        Accel::Kvm,
        1,
        "512M",
        "console=ttyS0 panic=-1 cryptomgr.notests",
    );
    command.args(["-cpu", "host", "-serial", "stdio"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else {
        return false;
    };
    let Some(mut stdout) = child.stdout.take() else {
        return false;
    };
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut log = Vec::new();
        let _ = stdout.read_to_end(&mut log);
        let _ = sender.send(String::from_utf8_lossy(&log).contains("Unable to mount root fs"));
    });
    let (_, killed) = wait(&mut child, limit, &OnceLock::new());
    killed.is_none() && receiver.recv().unwrap_or(false)
}
