// SPDX-License-Identifier: GPL-2.0

//! Windows: where processes see the views that they have received on one port.
//!
//! A slot of a window begins as *placed*: its receiver can see it, and has not been told. It is
//! *held* from when the receiver has the message until that gives it up.
#![deny(unsafe_code)]

use crate::{
    arena::{
        Arena,
        Open,
        Slot,
        Space,
        Then, //
    },
    file::{
        hidden_file,
        FileRef,
        ObjectFile,
        PollTable, //
    },
    lazy::Lazy,
    mapping::Place,
    outcome::{
        Failure,
        Outcome, //
    },
    pages::{
        bytes_of,
        pages_of, //
    },
    uapi,
    view::Loan, //
};
use kernel::{
    bindings,
    fs::file::File,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        Arc,
        ArcBorrow,
        Mutex, //
    }, //
};

/// Received views that one window has room for: as many bytes, and as many views.
const WINDOW_PAGES: u32 = 1 << 18;
const WINDOW_VIEWS: usize = 1024;

/// Where a process sees the views that it has received on one port. No descriptor has it.
#[pin_data]
pub(crate) struct Window {
    #[pin]
    arena: Arena,
}

impl Window {
    /// A new one, with nothing in it.
    fn open() -> Result<FileRef<Self>> {
        let window = Arc::pin_init(
            pin_init!(Self {
                arena <- Arena::new(WINDOW_PAGES, WINDOW_VIEWS, false),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        hidden_file(window)
    }
}

impl ObjectFile for Window {
    const NAME: &'static CStr = c"[alpc-window]";
    const MAPPED: bool = true;

    fn ioctl(
        _this: ArcBorrow<'_, Self>,
        _file: &File,
        _nonblock: bool,
        _cmd: u32,
        _arg: usize,
    ) -> Result<isize> {
        Err(ENOTTY)
    }

    fn arena(&self) -> Option<&Arena> {
        Some(&self.arena)
    }

    fn poll<'file>(&'file self, _table: PollTable<'file>) -> u32 {
        bindings::POLLERR
    }

    fn show_fdinfo(_this: ArcBorrow<'_, Self>, _m: &SeqFile) {}

    fn release(_this: Arc<Self>) {}
}

/// The window of a port, made when it is needed.
pub(crate) type LazyWindow = Lazy<FileRef<Window>>;

impl LazyWindow {
    /// Nothing will be received any more. What has been stays.
    pub(crate) fn close(&self) {
        if let Some(window) = self.get() {
            window.object().arena.close();
        }
    }

    /// Shows a view to the current process, and says where. Whoever makes the window holds `maker`.
    pub(crate) fn place(
        &self,
        maker: &Mutex<()>,
        loan: &Arc<Loan>,
    ) -> Result<(Placed, uapi::alpc_attr_view), Failure> {
        let window = self.get_or_make(maker, Window::open)?;
        let object = window.object();
        let arena = &object.arena;
        let open = Open::Only(Space::current());
        let base = arena.map(window.file())?;
        // What was not lent is none of the receiver's business.
        let len = pages_of(loan.size).ok_or(EINVAL)?;
        let start = match arena.add(loan.pages.clone(), len, open, Some(loan.clone())) {
            Ok(start) => start,
            Err(error) if error == ENOSPC => return Err(Outcome::NoWindow.into()),
            // `EAGAIN` if another thread has just unmapped it.
            Err(error) => return Err(error.into()),
        };
        let view = uapi::alpc_attr_view {
            base: (base as u64).saturating_add(bytes_of(start)),
            size: loan.size,
            release: 0,
            flags: match loan.secure {
                true => uapi::ALPC_VIEW_SECURE,
                false => 0,
            },
            reserved: 0,
        };
        let placed = Placed {
            window,
            start,
            loan: loan.clone(),
            kept: false,
        };
        Ok((placed, view))
    }
}

/// A view that its receiver can see. It vanishes again unless it is kept.
pub(crate) struct Placed {
    window: FileRef<Window>,
    start: u32,
    loan: Arc<Loan>,
    kept: bool,
}

impl Placed {
    /// The receiver has it.
    pub(crate) fn keep(mut self) {
        self.kept = true;
        self.loan.leave();
        let there = self.with_slot(|slot| {
            slot.held = true;
            Then::Keep
        });
        if !there {
            // Another thread of the receiver has unmapped it meanwhile.
            self.loan.end();
        }
    }

    /// Looks at its slot, if that is there still.
    fn with_slot(&self, look: impl FnOnce(&mut Slot) -> Then) -> bool {
        let is_this = |slot: &Slot| {
            let loan = slot.loan.as_ref();
            loan.is_some_and(|loan| Arc::ptr_eq(loan, &self.loan))
        };
        let arena = &self.window.object().arena;
        let looked = arena.with_slot(self.window.file(), self.start, |slot| match is_this(slot) {
            true => Ok(((), look(slot))),
            false => Err(()),
        });
        matches!(looked, Some(Ok(())))
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if !self.kept {
            self.with_slot(|_| Then::Remove);
        }
    }
}

/// Gives up a received view at this place.
pub(crate) fn release(place: &Place) -> Result<(), Failure> {
    let window = place.file::<Window>().ok_or(Outcome::NotAView)?;
    let object = window.object();
    let loan = object
        .arena
        .with_slot(window.file(), place.page, |slot| {
            // One that is not held may be another receiver's in the end, with the same loan.
            match slot.is_held_here() {
                true => Ok((slot.loan.take(), Then::Remove)),
                false => Err(Outcome::NotAView),
            }
        })
        .unwrap_or(Err(Outcome::NotAView))?;
    // It is hidden from the holder now.
    if let Some(loan) = loan {
        loan.end();
    }
    object.arena.unmap_if_done();
    Ok(())
}

/// The size of a held view at this place, and whether it is secure.
pub(crate) fn held(place: &Place) -> Result<(u64, bool)> {
    let window = place.file::<Window>().ok_or(ENXIO)?;
    let arena = &window.object().arena;
    arena
        .with_slot(window.file(), place.page, |slot| match &slot.loan {
            Some(loan) if slot.is_held_here() => Ok(((loan.size, loan.secure), Then::Keep)),
            _ => Err(ENXIO),
        })
        .unwrap_or(Err(ENXIO))
}

impl Slot {
    /// Whether the current process holds the view.
    fn is_held_here(&self) -> bool {
        self.held && self.open == Open::Only(Space::current())
    }
}
