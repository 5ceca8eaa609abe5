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
    buffer::charged,
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
use core::mem::size_of;
use kernel::{
    bindings,
    fs::file::File,
    new_mutex,
    page::PAGE_SHIFT,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        Arc,
        ArcBorrow,
        Mutex,
        UniqueArc, //
    }, //
};

/// Pages of a window, which its views share. A view takes at least [`ROOM_MIN`] of them, so that
/// there are no more than can be looked through each time one comes.
pub(crate) const ROOM: u32 = uapi::ALPC_WINDOW_SIZE >> PAGE_SHIFT;
const ROOM_MIN: u32 = ROOM / uapi::ALPC_WINDOW_VIEWS_MAX;

/// What a view of so many pages takes.
pub(crate) fn room_for(pages: u32) -> u32 {
    pages.max(ROOM_MIN)
}

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
                arena <- Arena::new(ROOM, uapi::ALPC_WINDOW_VIEWS_MAX as usize, false),
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
            view: Borrowed {
                window,
                start,
                loan: loan.clone(),
            },
            kept: false,
        };
        Ok((placed, view))
    }
}

/// A view in a window.
struct Borrowed {
    window: FileRef<Window>,
    start: u32,
    loan: Arc<Loan>,
}

impl Borrowed {
    /// The current process holds it from now on.
    fn hold(&self) {
        let there = self.with_slot(|slot| {
            slot.held = true;
            Then::Keep
        });
        if !there {
            // Another thread of the process has unmapped it meanwhile.
            self.loan.end();
        }
    }

    /// Nobody sees it any more.
    fn vanish(&self) {
        self.with_slot(|_| Then::Remove);
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

/// A view that its receiver can see. It vanishes again unless it is kept.
pub(crate) struct Placed {
    view: Borrowed,
    kept: bool,
}

impl Placed {
    /// The receiver has it.
    pub(crate) fn keep(mut self) {
        self.kept = true;
        self.view.loan.leave();
        self.view.hold();
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if !self.kept {
            self.view.vanish();
        }
    }
}

/// A view that its holder gives back with a message. Until that is sent it can still be read, but
/// is not held: nobody else can give it up.
///
/// Sender and receiver both end it, whoever is first, and who is second waits until that is done:
/// so it is back before the receiver learns of the message, and the sender has nothing left of it
/// when its send is over. It ends with the message at the latest.
#[pin_data]
pub(crate) struct Given {
    window: FileRef<Window>,
    /// None when that is done.
    #[pin]
    view: Mutex<Option<Back>>,
}

/// A view on its way back, which is there when this is dropped.
struct Back {
    view: Borrowed,
    /// It stays with its holder.
    held: bool,
}

impl Drop for Back {
    fn drop(&mut self) {
        if self.held {
            return self.view.hold();
        }
        self.view.vanish();
        self.view.loan.end();
    }
}

impl Given {
    /// Takes it from the current process, which holds it at `base`.
    pub(crate) fn take(base: u64) -> Result<Arc<Self>, Failure> {
        let place = Place::at(base).ok_or(Outcome::NotAView)?;
        let window = place.file::<Window>().ok_or(Outcome::NotAView)?;
        let room = charged(size_of::<Self>(), UniqueArc::<Self>::new_uninit)?;
        let loan = held_slot(&place, &window, |slot| {
            slot.held = false;
            (slot.loan.clone(), Then::Keep)
        })?;
        let view = Borrowed {
            window: window.clone(),
            start: place.page,
            loan: loan.ok_or(Outcome::NotAView)?,
        };
        let Ok(given) = room.pin_init_with(pin_init!(Self {
            window,
            view <- new_mutex!(Some(Back { view, held: false }), "Given::view"),
        }));
        Ok(Arc::from(given))
    }

    /// The message has been sent: it is its owner's again.
    pub(crate) fn end(&self) {
        // Under the lock, so that nobody goes on before it is.
        *self.view.lock() = None;
    }

    /// The same by the sender.
    pub(crate) fn end_here(&self) {
        self.end();
        self.window.object().arena.unmap_if_done();
    }

    /// The message has not been sent: it is held again.
    pub(crate) fn recall(&self) {
        let mut view = self.view.lock();
        if let Some(back) = &mut *view {
            back.held = true;
        }
        *view = None;
    }
}

/// Gives up a received view at this place.
pub(crate) fn release(place: &Place) -> Result<(), Failure> {
    let window = place.file::<Window>().ok_or(Outcome::NotAView)?;
    let loan = held_slot(place, &window, |slot| (slot.loan.take(), Then::Remove))?;
    // It is hidden from the holder now.
    if let Some(loan) = loan {
        loan.end();
    }
    window.object().arena.unmap_if_done();
    Ok(())
}

/// Looks at the slot of a view that the current process holds at this place.
fn held_slot<R>(
    place: &Place,
    window: &FileRef<Window>,
    look: impl FnOnce(&mut Slot) -> (R, Then),
) -> Result<R, Outcome> {
    let arena = &window.object().arena;
    let looked = arena.with_slot(window.file(), place.page, |slot| {
        // One that is not held may be another receiver's in the end, with the same loan.
        match slot.held && slot.open == Open::Only(Space::current()) {
            true => Ok(look(slot)),
            false => Err(Outcome::NotAView),
        }
    });
    looked.unwrap_or(Err(Outcome::NotAView))
}

/// The size of a held view at this place, and whether it is secure.
pub(crate) fn held(place: &Place) -> Result<(u64, bool)> {
    let window = place.file::<Window>().ok_or(ENXIO)?;
    let held = held_slot(place, &window, |slot| {
        let loan = slot.loan.as_ref();
        (loan.map(|loan| (loan.size, loan.secure)), Then::Keep)
    });
    held.ok().flatten().ok_or(ENXIO)
}
