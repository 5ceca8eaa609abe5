// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory of views: the only place that makes slices of them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::Arc;

use super::{
    alpc_attr_view, alpc_create_section, alpc_create_view, alpc_delete_view, alpc_query_view,
    ioctl, made, Maker, ALPC_IOCTL_CREATE_SECTION, ALPC_IOCTL_CREATE_VIEW, ALPC_IOCTL_DELETE_VIEW,
    ALPC_IOCTL_QUERY_VIEW, ALPC_VIEW_SECURE,
};

/// `ALPC_IOC_QUERY_VIEW` on any port or section.
pub fn query_view(fd: BorrowedFd<'_>, argument: &mut alpc_query_view) -> io::Result<()> {
    // SAFETY: The structure is the one the number names, and its address is only compared.
    unsafe { ioctl(fd, ALPC_IOCTL_QUERY_VIEW, argument) }.map(drop)
}

/// `ALPC_IOC_DELETE_VIEW` on any port or section.
///
/// # Safety
///
/// Nothing may refer to the memory of the view any more.
pub unsafe fn delete_view(fd: BorrowedFd<'_>, argument: &mut alpc_delete_view) -> io::Result<()> {
    // SAFETY: The structure is the one the number names; the caller vouches for the view.
    unsafe { ioctl(fd, ALPC_IOCTL_DELETE_VIEW, argument) }.map(drop)
}

/// A section, and where this process has it mapped.
#[derive(Debug)]
pub(crate) struct Mapped {
    fd: OwnedFd,
    size: usize,
    /// Null until the first view is made.
    start: AtomicPtr<u8>,
    /// The process that has it mapped: children do not inherit it.
    maker: Maker,
}

impl Mapped {
    /// `ALPC_IOC_CREATE_SECTION` on any port. Sets the size to what it is.
    pub(crate) fn create(
        port: BorrowedFd<'_>,
        argument: &mut alpc_create_section,
    ) -> io::Result<Self> {
        // SAFETY: The structure is the one the number names, and has no pointers.
        let fd = unsafe { ioctl(port, ALPC_IOCTL_CREATE_SECTION, &mut *argument) }.map(made)?;
        Ok(Self {
            fd,
            size: argument.size as usize,
            start: AtomicPtr::default(),
            maker: Maker::here(),
        })
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Ends the mapping, and leaves the descriptor.
    pub(crate) fn into_fd(self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }
}

impl AsFd for Mapped {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let start = *self.start.get_mut();
        if !start.is_null() && self.maker.is_here() {
            // SAFETY: The kernel mapped the whole section there for this process, the views in it
            // keep this object, and nobody else knows of the mapping.
            unsafe { libc::munmap(start.cast(), self.size) };
        }
    }
}

/// Memory of a view that this process owns and has not lent.
///
/// # Invariants
///
/// `size` bytes at `base` are mapped for reading and writing by nobody else than this object, as
/// long as it is not lent. The view is deleted only by its drop, or by the kernel if it is `gone`:
/// then another view may have that place.
#[derive(Debug)]
pub(crate) struct Owned {
    section: Arc<Mapped>,
    base: NonNull<u8>,
    size: usize,
    maker: Maker,
    gone: AtomicBool,
}

// SAFETY: It is memory like a vector's.
unsafe impl Send for Owned {}
// SAFETY: Through a shared one it is only read.
unsafe impl Sync for Owned {}

impl Owned {
    /// `ALPC_IOC_CREATE_VIEW` on the section.
    pub(crate) fn create(
        section: &Arc<Mapped>,
        argument: &mut alpc_create_view,
    ) -> io::Result<Self> {
        // SAFETY: The structure is the one the number names, and has no pointers.
        unsafe { ioctl(section.as_fd(), ALPC_IOCTL_CREATE_VIEW, &mut *argument) }?;
        let base = argument.base as *mut u8;
        let start = base.wrapping_sub(argument.offset as usize);
        section.start.store(start, Ordering::Relaxed);
        let base = NonNull::new(base).ok_or(io::ErrorKind::InvalidData)?;
        // INVARIANT: The view is new, and nobody knows of it.
        Ok(Self {
            section: section.clone(),
            base,
            size: argument.size as usize,
            maker: Maker::here(),
            gone: AtomicBool::new(false),
        })
    }

    /// Says whether the kernel may have deleted it, and returns what was said before.
    pub(crate) fn set_gone(&self, gone: bool) -> bool {
        self.gone.swap(gone, Ordering::Relaxed)
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    pub(crate) fn base(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn section(&self) -> BorrowedFd<'_> {
        self.section.as_fd()
    }

    /// The bytes. The caller has not lent them.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: By the invariants.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.size) }
    }

    /// The bytes, to be written. The caller has not lent them.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: By the invariants, and nobody else has this object.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.size) }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if self.maker.is_here() && !self.is_gone() {
            let mut argument = alpc_delete_view {
                base: self.base(),
                ..Default::default()
            };
            // There is nobody to tell.
            // SAFETY: The bytes are borrowed from this object only.
            let _ = unsafe { delete_view(self.section.as_fd(), &mut argument) };
        }
    }
}

/// Memory of a view that this process has received and holds.
///
/// # Invariants
///
/// `size` bytes at `base` are readable until the view is released. If it is `secure`, nobody can
/// write them before. Only the drop releases it, or a message if it is `gone`: then another view may
/// have that place, and nobody reads it.
#[derive(Debug)]
pub(crate) struct Held<P: AsFd> {
    /// Any descriptor by which it can be released.
    port: P,
    base: NonNull<u8>,
    size: usize,
    secure: bool,
    maker: Maker,
    gone: AtomicBool,
}

// SAFETY: It is memory that is only read.
unsafe impl<P: AsFd + Send> Send for Held<P> {}
// SAFETY: As above.
unsafe impl<P: AsFd + Sync> Sync for Held<P> {}

impl<P: AsFd> Held<P> {
    /// The view of a message that this process has just received by `port`.
    ///
    /// The caller is the one that asked for it, and makes one of each.
    pub(crate) fn new(port: P, view: &alpc_attr_view) -> Option<Self> {
        // INVARIANT: The kernel says so.
        Some(Self {
            port,
            base: NonNull::new(view.base as *mut u8)?,
            size: usize::try_from(view.size).ok()?,
            secure: view.flags & ALPC_VIEW_SECURE != 0,
            maker: Maker::here(),
            gone: AtomicBool::new(false),
        })
    }

    /// Says whether a message may have released it, and returns what was said before. Whoever says
    /// so first has it, and lets nobody read it any more unless that message is not sent.
    pub(crate) fn set_gone(&self, gone: bool) -> bool {
        self.gone.swap(gone, Ordering::Relaxed)
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    pub(crate) fn base(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The bytes of a secure view, none of another.
    pub(crate) fn bytes(&self) -> &[u8] {
        if !self.secure {
            return &[];
        }
        // SAFETY: By the invariants the bytes are there, and nobody can write those of a secure
        // view while it is held.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.size) }
    }

    /// Copies bytes from `offset` on that somebody may be writing: each is read once, as it is
    /// then. Fails beyond the end.
    pub(crate) fn copy(&self, offset: usize, to: &mut [u8]) -> Option<()> {
        let end = offset.checked_add(to.len())?;
        if end > self.size {
            return None;
        }
        for (at, byte) in to.iter_mut().enumerate() {
            // SAFETY: Within the view. Volatile, since it may change at any time.
            *byte = unsafe { self.base.as_ptr().add(offset + at).read_volatile() };
        }
        Some(())
    }
}

impl<P: AsFd> Drop for Held<P> {
    fn drop(&mut self) {
        if self.maker.is_here() && !self.is_gone() {
            let mut argument = alpc_delete_view {
                base: self.base(),
                ..Default::default()
            };
            // There is nobody to tell.
            // SAFETY: The bytes are borrowed from this object only.
            let _ = unsafe { delete_view(self.port.as_fd(), &mut argument) };
        }
    }
}
