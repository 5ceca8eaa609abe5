// SPDX-License-Identifier: GPL-2.0

//! Views: ranges of memory that one side lends to the other with a message.
//!
//! A view is a slot in the arena of its owner's [`Section`]. To lend it makes a [`Loan`], which
//! travels with the message. Who receives the message gets a slot in the arena of its [`Window`]
//! with the same pages, and reads them there until it releases it: that ends the loan.
//!
//! ```text
//!             send                  receive                 release
//!   Owned ───────────► Under way ─────────────► Held ────────────────► Owned
//!     ▲                    │                                             or, of a view that
//!     └────────────────────┘                                             is deleted, freed
//!        the message is dropped, or received without room for a view
//! ```
//!
//! A *secure* view is open to its owner in the state Owned only. It is hidden from the owner before
//! the message has it, and hidden from the holder before the loan ends, so there is no moment at
//! which one can write what the other reads. Nothing but the holder ends the state Held: its
//! release, or the end of its mapping. Each side's state is under the lock of its own arena, and
//! the two are never taken together.
#![deny(unsafe_code)]

use crate::{
    arena::{
        Arena,
        Open,
        Slot,
        Space,
        Then, //
    },
    buffer::{
        charged,
        copy_range_out,
        copy_struct_in,
        copy_struct_out, //
    },
    comm::Connection,
    file::{
        hidden_file,
        FileRef,
        ObjectFile,
        PollTable, //
    },
    ioctl,
    logic::engine::Side,
    mapping::Place,
    outcome::{
        Failure,
        Outcome, //
    },
    pages::{
        bytes_of,
        pages_of,
        Pages, //
    },
    quota::Counter,
    section::Section,
    uapi, //
};
use core::mem::{
    offset_of,
    size_of, //
};
use kernel::{
    bindings,
    fs::file::File,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        Mutex,
        SetOnce, //
    },
};

/// Received views that one window has room for: as many bytes, and as many views.
const WINDOW_PAGES: u32 = 1 << 18;
const WINDOW_VIEWS: usize = 1024;

/// A view that is lent.
pub(crate) struct Loan {
    section: FileRef<Section>,
    start: u32,
    pages: Arc<Pages>,
    size: u64,
    secure: bool,
    auto_release: bool,
    /// Where it is counted. The connection itself may be gone before.
    lent: Arc<Counter>,
    ended: Atomic<bool>,
}

impl Loan {
    /// The message has left its sender.
    fn leave(&self) {
        if self.auto_release {
            delete_own(
                &self.section.object(),
                self.section.file(),
                self.start,
                &self.pages,
            );
        }
    }

    /// Gives the view back to its owner, if that still has it. It may be called by many and often.
    pub(crate) fn end(&self) {
        self.end_and(self.auto_release);
    }

    /// The same for a message that has not been sent: its owner has the view as before.
    pub(crate) fn recall(&self) {
        self.end_and(false);
    }

    fn end_and(&self, delete: bool) {
        if self.ended.xchg(true, Relaxed) {
            return;
        }
        let section = self.section.object();
        section
            .arena()
            .with_slot(self.section.file(), self.start, |slot| {
                // The owner may have deleted it, and have made another one in its place.
                if !Arc::ptr_eq(&slot.pages, &self.pages) {
                    return Err(());
                }
                if delete {
                    return Ok(((), Then::Remove));
                }
                slot.lent = slot.lent.saturating_sub(1);
                if self.secure {
                    slot.open = Open::All;
                }
                Ok(((), Then::Keep))
            });
        self.lent.give_back();
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether the fields of a sender's attribute make sense together.
pub(crate) fn is_valid(ask: &uapi::alpc_attr_view) -> bool {
    const FLAGS: u32 = uapi::ALPC_VIEW_SECURE | uapi::ALPC_VIEW_AUTO_RELEASE;
    ask.flags & !FLAGS == 0
        && ask.reserved == 0
        && (ask.base == 0) == (ask.size == 0)
        && (ask.base != 0 || ask.flags == 0)
}

/// Lends the view that a sender's attribute names, and releases the one that it gives up.
pub(crate) fn send(
    ask: &uapi::alpc_attr_view,
    connection: &Connection,
    to: Side,
) -> Result<Option<Arc<Loan>>, Failure> {
    let loan = match ask.base {
        0 => None,
        _ => Some(lend(ask, connection, to)?),
    };
    let released = match ask.release {
        0 => Ok(()),
        base => release_at(base),
    };
    if let (Err(_), Some(loan)) = (&released, &loan) {
        loan.recall();
    }
    released.map(|()| loan)
}

fn lend(
    ask: &uapi::alpc_attr_view,
    connection: &Connection,
    to: Side,
) -> Result<Arc<Loan>, Failure> {
    let place = Place::at(ask.base).ok_or(Outcome::NotAView)?;
    let section = place.file::<Section>().ok_or(Outcome::NotAView)?;
    let secure = ask.flags & uapi::ALPC_VIEW_SECURE != 0;
    let counter = connection.lent(to)?;
    if !counter.take(uapi::ALPC_VIEWS_LENT_MAX) {
        return Err(Outcome::Limit.into());
    }
    let lent = section
        .object()
        .arena()
        .with_slot(section.file(), place.page, |slot| {
            if slot.open != Open::All {
                return Err(Outcome::Lent.into());
            }
            if ask.size > bytes_of(slot.pages.len()) {
                return Err(EINVAL.into());
            }
            let room = charged(size_of::<Loan>(), |flags| {
                kernel::sync::UniqueArc::<Loan>::new_uninit(flags)
            })?;
            let loan = room.write(Loan {
                section: section.clone(),
                start: place.page,
                pages: slot.pages.clone(),
                size: ask.size,
                secure,
                auto_release: ask.flags & uapi::ALPC_VIEW_AUTO_RELEASE != 0,
                lent: counter.clone(),
                ended: Atomic::new(false),
            });
            slot.lent = slot.lent.saturating_add(1);
            let then = match secure {
                true => {
                    slot.open = Open::Nobody;
                    Then::Hide
                }
                false => Then::Keep,
            };
            Ok((Arc::from(loan), then))
        })
        .unwrap_or(Err(Outcome::NotAView.into()));
    if lent.is_err() {
        counter.give_back();
    }
    lent
}

/// Takes the view of these pages from its owner. Who borrows it keeps it.
pub(crate) fn delete_own(section: &Section, file: &File, start: u32, pages: &Arc<Pages>) {
    section
        .arena()
        .with_slot(file, start, |slot| match Arc::ptr_eq(&slot.pages, pages) {
            true => Ok(((), Then::Remove)),
            false => Err(()),
        });
}

fn release_at(base: u64) -> Result<(), Failure> {
    release(&Place::at(base).ok_or(Outcome::NotAView)?)
}

/// Gives up a received view at this place.
fn release(place: &Place) -> Result<(), Failure> {
    let window = place.file::<Window>().ok_or(Outcome::NotAView)?;
    let object = window.object();
    let loan = object
        .arena
        .with_slot(window.file(), place.page, |slot| {
            // One that is not held may be another receiver's in the end, with the same loan.
            match slot.held && slot.open == Open::Only(Space::current()) {
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

/// `ALPC_IOC_DELETE_VIEW`.
pub(crate) fn delete(size: usize, addr: u64) -> Result<isize> {
    const FIRST: usize = size_of::<uapi::alpc_delete_view>();
    let arg: uapi::alpc_delete_view = copy_struct_in(size, addr, FIRST)?;
    if arg.flags != 0 {
        return Err(EINVAL);
    }
    let write = |outcome: u32| {
        let answer = uapi::alpc_delete_view { outcome, ..arg };
        let at = offset_of!(uapi::alpc_delete_view, outcome);
        copy_range_out(size, addr, &answer, ioctl::field(at))
    };
    // A caller that can't be told is found out before anything has happened.
    write(uapi::ALPC_OUTCOME_OK)?;
    try_delete(arg.base).map_err(|failure| ioctl::report(failure, arg.outcome, write))?;
    Ok(0)
}

fn try_delete(base: u64) -> Result<(), Failure> {
    let place = Place::at(base).ok_or(Outcome::NotAView)?;
    let Some(section) = place.file::<Section>() else {
        return release(&place);
    };
    section
        .object()
        .arena()
        .with_slot(section.file(), place.page, |_| {
            Ok::<_, Failure>(((), Then::Remove))
        })
        .unwrap_or(Err(Outcome::NotAView.into()))
}

/// `ALPC_IOC_QUERY_VIEW`.
pub(crate) fn query(size: usize, addr: u64) -> Result<isize> {
    const FIRST: usize = size_of::<uapi::alpc_query_view>();
    let mut arg: uapi::alpc_query_view = copy_struct_in(size, addr, FIRST)?;
    let place = Place::at(arg.base).ok_or(ENXIO)?;
    let (bytes, state, secure) = match place.file::<Section>() {
        Some(section) => section
            .object()
            .arena()
            .with_slot(section.file(), place.page, |slot| {
                let state = match slot.lent {
                    0 => uapi::ALPC_VIEW_STATE_OWNED,
                    _ => uapi::ALPC_VIEW_STATE_LENT,
                };
                let bytes = bytes_of(slot.pages.len());
                Ok(((bytes, state, slot.open == Open::Nobody), Then::Keep))
            }),
        None => {
            let window = place.file::<Window>().ok_or(ENXIO)?;
            let object = window.object();
            object
                .arena
                .with_slot(window.file(), place.page, |slot| match &slot.loan {
                    Some(loan) if slot.held && slot.open == Open::Only(Space::current()) => {
                        let state = uapi::ALPC_VIEW_STATE_HELD;
                        Ok(((loan.size, state, loan.secure), Then::Keep))
                    }
                    _ => Err(ENXIO),
                })
        }
    }
    .unwrap_or(Err(ENXIO))?;
    arg.size = bytes;
    arg.state = state;
    arg.flags = match secure {
        true => uapi::ALPC_VIEW_SECURE,
        false => 0,
    };
    copy_struct_out(size, addr, &arg)?;
    Ok(0)
}

/// Where a process sees the views that it has received on one port. No descriptor has it.
#[pin_data]
pub(crate) struct Window {
    #[pin]
    arena: Arena,
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
pub(crate) struct WindowRef(SetOnce<FileRef<Window>>);

/// A view that its receiver can see. It vanishes again unless it is kept.
pub(crate) struct Placed {
    window: FileRef<Window>,
    start: u32,
    loan: Arc<Loan>,
    kept: bool,
}

impl WindowRef {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self(SetOnce::new())
    }

    /// Nothing will be received any more. What has been stays.
    pub(crate) fn close(&self) {
        if let Some(window) = self.0.as_ref() {
            window.object().arena.close();
        }
    }

    /// The window. Whoever makes it holds `maker`.
    fn file(&self, maker: &Mutex<()>) -> Result<FileRef<Window>> {
        if let Some(file) = self.0.as_ref() {
            return Ok(file.clone());
        }
        let window = Arc::pin_init(
            pin_init!(Window {
                arena <- Arena::new(WINDOW_PAGES, WINDOW_VIEWS, false),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        let new = hidden_file(window)?;
        let guard = maker.lock();
        let file = match self.0.as_ref() {
            Some(file) => file.clone(),
            None => {
                self.0.populate(new.clone());
                new.clone()
            }
        };
        drop(guard);
        Ok(file)
    }

    /// Shows a view to the current process, and says where.
    pub(crate) fn place(
        &self,
        maker: &Mutex<()>,
        loan: &Arc<Loan>,
    ) -> Result<(Placed, uapi::alpc_attr_view), Failure> {
        let window = self.file(maker)?;
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
