// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts, console, limits, and the way out.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::ptr;

/// I/O port of the `isa-debug-exit` device; QEMU exits with `value << 1 | 1`.
const EXIT_PORT: u16 = 0xf4;
const EXIT_SUCCESS: u8 = 0x10;
const EXIT_FAILURE: u8 = 0x11;

const HOSTNAME: &str = "alpc-guest";

fn mount(kind: &str, target: &str, options: &str) -> Result<(), String> {
    std::fs::create_dir_all(target).map_err(|e| format!("{target}: {e}"))?;
    let [ckind, ctarget, coptions] =
        [kind, target, options].map(|s| CString::new(s).expect("no NUL in a literal"));
    // SAFETY: The four pointers are NUL-terminated strings that outlive the call.
    let rc = unsafe {
        libc::mount(
            ckind.as_ptr(),
            ctarget.as_ptr(),
            ckind.as_ptr(),
            0,
            coptions.as_ptr().cast(),
        )
    };
    match rc {
        0 => Ok(()),
        _ => Err(format!(
            "mount {kind} on {target}: {}",
            io::Error::last_os_error()
        )),
    }
}

/// What is needed to read the command line and to speak.
pub fn mount_early() -> Result<(), String> {
    mount("proc", "/proc", "")?;
    mount("devtmpfs", "/dev", "mode=0755")
}

pub fn mount_rest() -> Result<(), String> {
    mount("sysfs", "/sys", "")?;
    mount("debugfs", "/sys/kernel/debug", "")?;
    mount("tmpfs", "/tmp", "mode=1777")?;
    mount("tmpfs", "/dev/shm", "mode=1777")?;
    mount("devpts", "/dev/pts", "mode=620,ptmxmode=666")?;
    mount("mqueue", "/dev/mqueue", "")?;
    mount("cgroup2", "/sys/fs/cgroup", "")?;
    std::fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids")
        .map_err(|e| format!("cgroup controllers: {e}"))
}

/// Has SELinux go by `/policy`, if there is one: before anything is made that it would label.
pub fn load_policy() -> Result<(), String> {
    let Ok(policy) = std::fs::read("/policy") else {
        return Ok(());
    };
    mount("selinuxfs", "/sys/fs/selinux", "")?;
    // The kernel takes a policy by one write, and nothing else.
    std::fs::write("/sys/fs/selinux/load", policy).map_err(|e| format!("/policy: {e}"))?;
    std::fs::write("/sys/fs/selinux/enforce", "1").map_err(|e| format!("enforce: {e}"))
}

/// A serial port that passes every byte as it is.
pub fn open_raw(path: &str) -> Result<File, String> {
    let tty = File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|e| format!("{path}: {e}"))?;
    // SAFETY: `tty` is an open descriptor, `termios` a plain structure that
    // tcgetattr() fills before it is used.
    unsafe {
        let mut termios: libc::termios = std::mem::zeroed();
        if libc::tcgetattr(tty.as_raw_fd(), &mut termios) == 0 {
            libc::cfmakeraw(&mut termios);
            termios.c_cflag = libc::B115200 | libc::CS8 | libc::CREAD | libc::CLOCAL;
            libc::tcsetattr(tty.as_raw_fd(), libc::TCSANOW, &termios);
        }
    }
    Ok(tty)
}

/// Makes `path` standard input, output and error, raw and blocking.
pub fn open_console(path: &str) -> Result<(), String> {
    let tty = open_raw(path)?.into_raw_fd();
    // SAFETY: Descriptors only, and `tty` is nobody else's.
    unsafe {
        for fd in 0..3 {
            libc::dup2(tty, fd);
        }
        if tty > 2 {
            libc::close(tty);
        }
    }
    Ok(())
}

/// Waits until all output has left the guest.
pub fn drain() {
    drain_of(1);
}

/// Waits until all output of one port has left the guest.
pub fn drain_of(tty: RawFd) {
    // SAFETY: Acts on a descriptor number only.
    unsafe { libc::tcdrain(tty) };
}

fn set_limit(what: libc::__rlimit_resource_t, value: u64) -> Result<(), String> {
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: `limit` is a valid structure that outlives the call.
    match unsafe { libc::setrlimit(what, &limit) } {
        0 => Ok(()),
        _ => Err(format!("setrlimit {what}: {}", io::Error::last_os_error())),
    }
}

pub fn identity_and_limits() -> Result<(), String> {
    // SAFETY: The buffer is valid for the length given.
    unsafe { libc::sethostname(HOSTNAME.as_ptr().cast(), HOSTNAME.len()) };
    loopback_up().map_err(|e| format!("lo: {e}"))?;
    set_limit(libc::RLIMIT_NOFILE, 1 << 20)?;
    set_limit(libc::RLIMIT_MSGQUEUE, libc::RLIM_INFINITY)?;
    set_limit(libc::RLIMIT_CORE, 0)?;
    // The tests of limits must reach ours, not the ones around it.
    for (file, value) in [
        ("/proc/sys/kernel/pid_max", "131072"),
        ("/proc/sys/kernel/threads-max", "60000"),
        ("/proc/sys/kernel/sysrq", "1"),
        ("/proc/sys/fs/mqueue/msgsize_max", "65536"),
        ("/proc/sys/kernel/hung_task_all_cpu_backtrace", "0"),
    ] {
        // Not every kernel has every file, and none of them is vital.
        let _ = std::fs::write(file, value);
    }
    // As udev has it: any user may have a file system of its own.
    let _ = std::fs::set_permissions("/dev/fuse", PermissionsExt::from_mode(0o666));
    std::fs::set_permissions("/", PermissionsExt::from_mode(0o755)).map_err(|e| format!("/: {e}"))
}

fn loopback_up() -> io::Result<()> {
    // SAFETY: A socket of our own and a zeroed ifreq with a name that fits;
    // the union's flags member is the one SIOCSIFFLAGS reads.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut request: libc::ifreq = std::mem::zeroed();
        ptr::copy_nonoverlapping(c"lo".as_ptr(), request.ifr_name.as_mut_ptr(), 3);
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        let rc = libc::ioctl(socket, libc::SIOCSIFFLAGS, &request);
        let error = io::Error::last_os_error();
        libc::close(socket);
        match rc {
            0 => Ok(()),
            _ => Err(error),
        }
    }
}

/// Leaves the guest with a verdict; never returns.
pub fn power_off(ok: bool) -> ! {
    drain();
    let value = if ok { EXIT_SUCCESS } else { EXIT_FAILURE };
    // SAFETY: Gives this process one I/O port and writes a byte to it. There is
    // nothing behind that port but the device that ends the machine. Debian has
    // no /dev/port, hence the instruction.
    unsafe {
        libc::sync();
        if libc::ioperm(EXIT_PORT.into(), 1, 1) == 0 {
            std::arch::asm!("out dx, al", in("dx") EXIT_PORT, in("al") value,
                options(nomem, nostack, preserves_flags));
        }
        // Without that device: off, and the runner sees no verdict.
        libc::reboot(libc::RB_POWER_OFF);
    }
    loop {
        std::thread::park();
    }
}

/// Line editing, echo and signals, for a person at the terminal.
pub fn cooked() {
    // SAFETY: Descriptor 0 is the console; the structure is filled before use.
    unsafe {
        let mut termios: libc::termios = std::mem::zeroed();
        if libc::tcgetattr(0, &mut termios) == 0 {
            termios.c_iflag |= libc::ICRNL | libc::IXON;
            termios.c_oflag |= libc::OPOST | libc::ONLCR;
            termios.c_lflag |= libc::ISIG | libc::ICANON | libc::ECHO | libc::ECHOE | libc::IEXTEN;
            libc::tcsetattr(0, libc::TCSANOW, &termios);
        }
    }
}
