// SPDX-License-Identifier: GPL-2.0

//! Windows: where processes see the views that they have received on one port.
//!
//! A slot of a window begins as *placed*: its receiver can see it, and has not been told. It is
//! *held* from when the receiver has the message until that gives it up.
#![deny(unsafe_code)]

use crate::{
    arena::{
        Arena,
        At, //
    },
    buffer::charged,
    file::{
        hidden_file,
        FileRef,
        ObjectFile,
        PollTable, //
    },
    lazy::{
        Lazy,
        MakeLock, //
    },
    mapping::Place,
    outcome::{
        Failure,
        Outcome, //
    },
    pages::{
        bytes_of,
        pages_of, //
    },
    quota::Counter,
    shared::shared_pinned,
    slot::{
        Open,
        Slot,
        Space,
        Then, //
    },
    uapi,
    view::Loan, //
};
use core::mem::size_of;
use kernel::{
    bindings,
    fs::file::File,
    new_spinlock,
    page::PAGE_SHIFT,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        Arc,
        ArcBorrow,
        SpinLock,
        UniqueArc, //
    }, //
};

/// Pages that all views together take which clients have lent to a port.
pub(crate) const ROOM: u32 = uapi::ALPC_WINDOW_ROOM >> PAGE_SHIFT;

/// What a view takes is a multiple of this, so that there are no more views than can be looked
/// through each time one comes.
const GRANULE: u32 = ROOM / uapi::ALPC_WINDOW_VIEWS_MAX;

/// Pages of a window. Views come and go in any order: the largest is 2^8 times as long as the
/// smallest, and then the first gap that fits is about 8 times the room at most that all take
/// together. So much only who has all of the room could make of it, and no user has more than half.
// CAST: It is some millions.
const PAGES: u32 = (uapi::ALPC_WINDOW_SIZE >> PAGE_SHIFT) as u32;

const _: () = {
    let largest = uapi::ALPC_SECTION_MAX >> PAGE_SHIFT;
    assert!(PAGES / ROOM >= (largest / GRANULE).ilog2());
};

/// What a view of so many pages takes.
pub(crate) fn room_for(pages: u32) -> u32 {
    pages.next_multiple_of(GRANULE)
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
        let window = shared_pinned(pin_init!(Self {
            arena <- Arena::new(PAGES, GRANULE, uapi::ALPC_WINDOW_VIEWS_MAX as usize, false),
        }))?;
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
    /// The line of `fdinfo` of whose it is: the views that are received there and not given back, and
    /// their memory. Waits for nobody.
    pub(crate) fn print(&self, m: &SeqFile) {
        let usage = self.get().map(|window| window.object().arena.usage());
        let (views, pages) = usage.unwrap_or_default();
        let bytes = bytes_of(pages);
        seq_print!(m, "alpc-window:\t{views} views, {bytes} bytes\n");
    }

    /// Nothing will be received any more. What has been stays.
    pub(crate) fn close(&self) {
        if let Some(window) = self.get() {
            window.object().arena.close();
        }
    }

    /// Shows a view to the current process, and says where. Which of two windows
    /// becomes known is settled under `maker`.
    pub(crate) fn place(
        &self,
        maker: &MakeLock,
        loan: &Arc<Loan>,
    ) -> Result<(Placed, uapi::alpc_attr_view), Failure> {
        let mut made = None;
        // A window has the label of who makes it: who may not map it makes none for others.
        let make = || {
            let window = Window::open()?;
            window.object().arena.map(window.file())?;
            made = Some(window.clone());
            Ok(window)
        };
        let window = self.get_or_make(maker, make).map_err(or_no_window)?;
        let is_vain = |made: &FileRef<Window>| !core::ptr::eq(made.file(), window.file());
        if let Some(made) = made.filter(is_vain) {
            made.object().arena.close();
        }
        let object = window.object();
        let arena = &object.arena;
        let open = Open::Only(Space::current());
        arena.map(window.file()).map_err(or_no_window)?;
        // What was not lent is none of the receiver's business.
        let len = pages_of(loan.size).ok_or(EINVAL)?;
        // Not before it is received does it end.
        let backing = loan.backing().ok_or(ENXIO)?;
        let added = arena.add(backing, len, open, Some(loan.clone()));
        let At { start, addr, id } = match added {
            Ok(at) => at,
            Err(error) => {
                arena.unmap_if_done();
                return Err(match error == ENOSPC {
                    true => Outcome::NoWindow.into(),
                    // `EAGAIN` if another thread has just unmapped it.
                    false => error.into(),
                });
            }
        };
        let view = uapi::alpc_attr_view {
            base: addr,
            size: loan.size,
            release: 0,
            flags: match loan.secure {
                true => uapi::ALPC_VIEW_SECURE,
                false => 0,
            },
            reserved: 0,
        };
        let placed = Placed {
            view: Borrowed { window, start, id },
            loan: loan.clone(),
            kept: false,
        };
        Ok((placed, view))
    }
}

/// A receiver that a security module lets have no window has no room there.
fn or_no_window(error: Error) -> Failure {
    match error == EACCES || error == EPERM {
        true => Outcome::NoWindow.into(),
        false => error.into(),
    }
}

/// A slot of a window. Only who holds the window's port takes hold of it.
struct Borrowed {
    window: FileRef<Window>,
    start: u32,
    id: u64,
}

impl Borrowed {
    /// The current process holds the view of this loan there from now on, or again.
    fn hold(&self, loan: &Loan, again: bool) {
        let backing = match again {
            true => loan.backing(),
            false => None,
        };
        let there = self.with_slot(|slot| {
            slot.held = true;
            if again {
                slot.backing = backing;
            }
            Then::Keep
        });
        if !there {
            // Another thread of the process has unmapped it meanwhile.
            loan.end();
        }
    }

    /// Nobody sees it any more.
    fn vanish(&self) {
        self.with_slot(|_| Then::Remove);
        self.window.object().arena.unmap_if_done();
    }

    /// Looks at the slot, if that is there still.
    fn with_slot(&self, look: impl FnOnce(&mut Slot) -> Then) -> bool {
        let arena = &self.window.object().arena;
        let looked = arena.with_slot(self.window.file(), self.start, |slot| {
            match slot.id == self.id {
                true => Ok(((), look(slot))),
                false => Err(()),
            }
        });
        matches!(looked, Some(Ok(())))
    }
}

/// A view that its receiver can see. It vanishes again unless it is kept.
pub(crate) struct Placed {
    view: Borrowed,
    loan: Arc<Loan>,
    kept: bool,
}

impl Placed {
    /// The receiver has it.
    pub(crate) fn keep(mut self) {
        self.kept = true;
        self.view.hold(&self.loan, false);
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if !self.kept {
            self.view.vanish();
        }
    }
}

/// A view that its holder gives back with a message. The holder can't touch it any more, and nobody
/// else can give it up, but nothing is over until the message is sent.
///
/// Then sender and receiver both end the loan, whoever is first, and who is second finds it ended: so
/// the view is back before the receiver learns of the message. It ends with the message at the
/// latest. The slot in the holder's window is the sender's to see to, before and after: no lock of
/// the window is ever taken by who receives the message.
#[pin_data]
pub(crate) struct Given {
    /// Whether it belongs to who receives the message.
    goes_home: bool,
    loan: Arc<Loan>,
    /// None when the sender has no more to do with it.
    #[pin]
    view: SpinLock<Option<Borrowed>>,
}

impl Given {
    /// Takes it from the current process, which holds it at `base`. `lent` is where the views are
    /// counted that the receiver has lent to the sender.
    pub(crate) fn take(base: u64, lent: Option<&Arc<Counter>>) -> Result<Arc<Self>, Failure> {
        let place = Place::at(base).ok_or(Outcome::NotAView)?;
        let window = place.file::<Window>().ok_or(Outcome::NotAView)?;
        let room = charged(size_of::<Self>(), UniqueArc::<Self>::new_uninit)?;
        let (id, loan, backing) = held_slot(&place, &window, |slot| {
            (
                (slot.id, slot.loan.clone(), slot.backing.take()),
                Then::Hide,
            )
        })?;
        drop(backing);
        let loan = loan.ok_or(Outcome::NotAView)?;
        let view = Borrowed {
            window,
            start: place.page,
            id,
        };
        let Ok(given) = room.pin_init_with(pin_init!(Self {
            goes_home: lent.is_some_and(|lent| loan.is_counted(lent)),
            loan,
            view <- new_spinlock!(Some(view), "Given::view"),
        }));
        Ok(Arc::from(given))
    }

    /// Whether it belongs to who receives the message: nobody else waits for it.
    pub(crate) fn goes_home(&self) -> bool {
        self.goes_home
    }

    /// The message has been sent, and its receiver is about to learn of it.
    pub(crate) fn end(&self) {
        self.loan.end();
    }

    /// The message has been sent, and the sender has no more to do with it. For the sender only.
    pub(crate) fn end_here(&self) {
        let view = self.view.lock().take();
        if let Some(view) = view {
            self.loan.end();
            view.vanish();
        }
    }

    /// The message has not been sent: it is held again. For the sender only.
    pub(crate) fn recall(&self) {
        let view = self.view.lock().take();
        if let Some(view) = view {
            view.hold(&self.loan, true);
        }
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
        match slot.held && slot.backing.is_some() && slot.is_of_current() {
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
