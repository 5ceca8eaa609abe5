// SPDX-License-Identifier: MIT OR Apache-2.0

//! Descriptors of the kinds that a receiver must name, and of their near relatives.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::files::{adopt, memfd, socket};
use crate::places::{place, place_of, places};
use crate::raw::*;

/// The namespaces of this process that can be sent, and the flag of each.
pub fn namespaces() -> Vec<(&'static str, i32, OwnedFd)> {
    let types = [
        ("cgroup", libc::CLONE_NEWCGROUP),
        ("ipc", libc::CLONE_NEWIPC),
        ("net", libc::CLONE_NEWNET),
        ("pid", libc::CLONE_NEWPID),
        ("pid_for_children", libc::CLONE_NEWPID),
        ("time", libc::CLONE_NEWTIME),
        ("user", libc::CLONE_NEWUSER),
        ("uts", libc::CLONE_NEWUTS),
    ];
    let open = |(name, flag)| {
        let file = File::open(format!("/proc/self/ns/{name}")).ok()?;
        Some((name, flag, file.into()))
    };
    types.into_iter().filter_map(open).collect()
}

/// An ioctl of a driver whose argument is a struct, or why it failed.
fn request<T>(fd: &impl AsFd, number: u64, argument: &mut T) -> Result<i64, i32> {
    let argument = std::ptr::from_mut(argument);
    // SAFETY: The argument is live, and of the type that the number's size stands for.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), number as _, argument) };
    match result {
        0.. => Ok(result.into()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

const fn number(direction: u64, size: usize, kind: u8, command: u64) -> u64 {
    (direction << 30) | ((size as u64) << 16) | ((kind as u64) << 8) | command
}
const READ: u64 = 2;
const WRITE: u64 = 1;

fn device(path: &str) -> Option<OwnedFd> {
    let file = File::options().read(true).write(true).open(path).ok()?;
    Some(file.into())
}

/// A dma-buf of the first page of this memfd, which can't shrink then.
pub fn udmabuf(memfd: &OwnedFd) -> Option<OwnedFd> {
    #[repr(C)]
    struct Create {
        memfd: u32,
        flags: u32,
        offset: u64,
        size: u64,
    }
    let driver = device("/dev/udmabuf")?;
    let fd = memfd.as_raw_fd();
    // SAFETY: Numbers only.
    unsafe {
        assert_eq!(libc::ftruncate(fd, 4096), 0);
        assert_eq!(libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK), 0);
    }
    let mut create = Create {
        memfd: fd as u32,
        flags: 1,
        offset: 0,
        size: 4096,
    };
    let command = number(WRITE, size_of::<Create>(), b'u', 0x42);
    Some(adopt(
        request(&driver, command, &mut create).expect("udmabuf"),
    ))
}

/// A dma-buf of one page of the system's heap.
pub fn heap_buffer() -> Option<OwnedFd> {
    #[repr(C)]
    struct Allocation {
        len: u64,
        fd: u32,
        fd_flags: u32,
        heap_flags: u64,
    }
    let heap = File::open("/dev/dma_heap/system").ok()?;
    let mut allocation = Allocation {
        len: 4096,
        fd: 0,
        fd_flags: (libc::O_RDWR | libc::O_CLOEXEC) as u32,
        heap_flags: 0,
    };
    let command = number(READ | WRITE, size_of::<Allocation>(), b'H', 0);
    request(&heap, command, &mut allocation).expect("heap");
    Some(adopt(allocation.fd.into()))
}

/// A dma-buf of each exporter whose are sent.
pub fn dma_bufs() -> Vec<(&'static str, OwnedFd)> {
    let memory = memfd(libc::MFD_ALLOW_SEALING | libc::MFD_CLOEXEC);
    let all = [
        ("udmabuf", memory.and_then(|memory| udmabuf(&memory))),
        ("system heap", heap_buffer()),
    ];
    let there = all.into_iter().filter_map(|(name, fd)| match fd {
        Some(fd) => Some((name, fd)),
        None => {
            crate::note!("no {name} here");
            None
        }
    });
    there.collect()
}

/// An instance of ntsync.
pub struct Ntsync(OwnedFd);

impl Ntsync {
    pub fn open() -> Option<Self> {
        let device = device("/dev/ntsync");
        if device.is_none() {
            crate::note!("no ntsync here");
        }
        device.map(Self)
    }

    fn make(&self, command: u64, mut arguments: [u32; 2]) -> OwnedFd {
        let command = number(WRITE, 8, b'N', command);
        adopt(request(&self.0, command, &mut arguments).expect("ntsync"))
    }

    /// An event that is reset by nobody but who says so.
    pub fn event(&self) -> OwnedFd {
        self.make(0x87, [1, 0])
    }

    pub fn mutex(&self) -> OwnedFd {
        self.make(0x84, [0, 0])
    }

    pub fn semaphore(&self, count: u32) -> OwnedFd {
        self.make(0x80, [count, 9])
    }

    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Waits for an event that nobody else waits for.
    pub fn wait(&self, event: &OwnedFd) {
        #[repr(C)]
        struct Wait {
            timeout: u64,
            objs: u64,
            count: u32,
            index: u32,
            flags: u32,
            owner: u32,
            alert: u32,
            pad: u32,
        }
        let fd = event.as_raw_fd();
        let mut wait = Wait {
            timeout: u64::MAX,
            objs: std::ptr::from_ref(&fd) as u64,
            count: 1,
            index: JUNK32,
            flags: 0,
            owner: 1,
            alert: 0,
            pad: 0,
        };
        let command = number(READ | WRITE, size_of::<Wait>(), b'N', 0x82);
        request(&self.0, command, &mut wait).expect("wait");
        assert_eq!(wait.index, 0);
    }
}

/// Signals an event: what it was before.
pub fn set_event(event: &OwnedFd) -> Result<u32, i32> {
    let mut before = JUNK32;
    request(event, number(READ, 4, b'N', 0x88), &mut before).map(|_| before)
}

/// How often a semaphore can be taken.
pub fn semaphore_count(semaphore: &OwnedFd) -> Result<u32, i32> {
    let mut answer = [JUNK32; 2];
    request(semaphore, number(READ, 8, b'N', 0x8b), &mut answer).map(|_| answer[0])
}

/// Of each kind that must be named.
pub fn named() -> Vec<(&'static str, u32, OwnedFd)> {
    let of = |kind: u32| move |(name, fd): (&'static str, OwnedFd)| (name, kind, fd);
    let mut all: Vec<_> = places()
        .into_iter()
        .map(|(name, _, fd)| (name, ALPC_HANDLE_PATH, fd))
        .collect();
    let namespaces = namespaces().into_iter();
    all.extend(namespaces.map(|(name, _, fd)| (name, ALPC_HANDLE_NAMESPACE, fd)));
    all.extend(dma_bufs().into_iter().map(of(ALPC_HANDLE_DMA_BUF)));
    if let Some(ntsync) = Ntsync::open() {
        let objects = [
            ("event", ntsync.event()),
            ("mutex", ntsync.mutex()),
            ("semaphore", ntsync.semaphore(1)),
        ];
        all.extend(objects.map(of(ALPC_HANDLE_NTSYNC)));
    }
    all
}

/// What looks like one of those, and can't be sent.
pub fn lookalikes() -> Vec<(&'static str, OwnedFd)> {
    let pair = crate::Pair::of_views();
    let section = pair.client.section(4096).expect("section");
    let mut all = vec![
        ("mount namespace", crate::files::open("/proc/self/ns/mnt")),
        ("place of a port", place_of(&pair.port)),
        ("place of a section", place_of(&section)),
        ("place of an eventfd", place_of(&crate::files::eventfd())),
        ("place of a mount namespace", place("/proc/self/ns/mnt", 0)),
        ("place of a namespace", place("/proc/self/ns/uts", 0)),
        ("place of a pidfd", place_of(&crate::files::pidfd())),
        ("place of a pipe", place_of(&crate::files::pipe().0)),
    ];
    let of_some = [
        ("place of a memfd", memfd(0)),
        (
            "place of a socket",
            socket(libc::AF_UNIX, libc::SOCK_STREAM),
        ),
        (
            "place of an INET socket",
            socket(libc::AF_INET, libc::SOCK_STREAM),
        ),
    ];
    let known = of_some
        .into_iter()
        .filter_map(|(name, fd)| Some((name, fd?)));
    all.extend(known.map(|(name, fd)| (name, place_of(&fd))));
    for (_, buffer) in dma_bufs() {
        all.push(("place of a dma-buf", place_of(&buffer)));
    }
    if let Some(ntsync) = Ntsync::open() {
        all.push(("place of an event", place_of(&ntsync.event())));
        all.push(("/dev/ntsync", ntsync.into_fd()));
    }
    for path in ["/dev/udmabuf", "/dev/dma_heap/system"] {
        if let Ok(file) = File::open(path) {
            all.push((path, file.into()));
        }
    }
    all.extend(trees());
    all.extend(watchers());
    all
}

/// A perf event that counts nothing, and a BPF map.
fn watchers() -> impl Iterator<Item = (&'static str, OwnedFd)> {
    const SOFTWARE: u32 = 1;
    const DUMMY: u64 = 9;
    const MAP_CREATE: i32 = 0;
    const ARRAY: u32 = 2;
    let mut event = [0_u8; 64];
    event[..4].copy_from_slice(&SOFTWARE.to_ne_bytes());
    event[4..8].copy_from_slice(&64_u32.to_ne_bytes());
    event[8..16].copy_from_slice(&DUMMY.to_ne_bytes());
    let map: [u32; 5] = [ARRAY, 4, 4, 1, 0];
    // SAFETY: Live memory of the sizes that are told.
    let made = unsafe {
        [
            (
                "perf event",
                libc::syscall(libc::SYS_perf_event_open, event.as_ptr(), 0, -1, -1, 0),
            ),
            (
                "BPF map",
                libc::syscall(libc::SYS_bpf, MAP_CREATE, map.as_ptr(), size_of_val(&map)),
            ),
        ]
    };
    made.into_iter().filter_map(|(name, fd)| match fd {
        0.. => Some((name, adopt(fd))),
        _ => {
            crate::note!("no {name} here");
            None
        }
    })
}

/// Mounts that are nowhere: closing the descriptor ends them.
fn trees() -> [(&'static str, OwnedFd); 2] {
    const OPEN_TREE_CLONE: u32 = 1;
    const FSCONFIG_CMD_CREATE: u32 = 6;
    // SAFETY: Live names and numbers.
    unsafe {
        let tree = libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            c"/proc".as_ptr(),
            OPEN_TREE_CLONE | libc::O_CLOEXEC as u32,
        );
        let context = adopt(libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 1));
        let context = context.as_raw_fd();
        let none = std::ptr::null::<u8>();
        let made = libc::syscall(
            libc::SYS_fsconfig,
            context,
            FSCONFIG_CMD_CREATE,
            none,
            none,
            0,
        );
        assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
        let mount = libc::syscall(libc::SYS_fsmount, context, 1, 0);
        [
            ("tree of mounts", adopt(tree)),
            ("mount without a place", adopt(mount)),
        ]
    }
}
