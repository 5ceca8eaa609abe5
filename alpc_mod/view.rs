// SPDX-License-Identifier: GPL-2.0

//! Views: ranges of memory that one side lends to the other with a message.
//!
//! A view is a slot in the arena of its owner's [`Section`]. To lend it makes a [`Loan`], which
//! travels with the message. Who receives the message gets a slot in the arena of its
//! [`Window`](window::Window) with the same pages, and reads them there until it releases it: that
//! ends the loan.
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
        Open,
        Then, //
    },
    buffer::{
        charged,
        copy_range_out,
        copy_struct_in,
        copy_struct_out, //
    },
    charge::Charge,
    comm::Connection,
    file::FileRef,
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
    uapi,
    window, //
};
use core::mem::{
    offset_of,
    size_of, //
};
use kernel::{
    fs::file::File,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        UniqueArc, //
    }, //
};

/// A view that is lent.
pub(crate) struct Loan {
    section: FileRef<Section>,
    start: u32,
    pub(crate) pages: Arc<Pages>,
    pub(crate) size: u64,
    pub(crate) secure: bool,
    auto_release: bool,
    /// Where it is counted. The connection itself may be gone before.
    lent: Arc<Counter>,
    /// What it takes of a server's window.
    room: Option<Charge>,
    ended: Atomic<bool>,
}

impl Loan {
    /// The message has left its sender.
    pub(crate) fn leave(&self) {
        if self.auto_release {
            delete_own(
                &self.section.object(),
                self.section.file(),
                self.start,
                &self.pages,
            );
        }
    }

    /// Whether it is counted there: so it was lent along that connection, in that direction.
    pub(crate) fn is_counted(&self, lent: &Arc<Counter>) -> bool {
        Arc::ptr_eq(&self.lent, lent)
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
        if let Some(room) = &self.room {
            room.end();
        }
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

/// Lends the view that a sender's attribute names.
pub(crate) fn lend(
    ask: &uapi::alpc_attr_view,
    connection: &Connection,
    to: Side,
) -> Result<Arc<Loan>, Failure> {
    let place = Place::at(ask.base).ok_or(Outcome::NotAView)?;
    let start = place.page;
    let section = place.file::<Section>().ok_or(Outcome::NotAView)?;
    let secure = ask.flags & uapi::ALPC_VIEW_SECURE != 0;
    let counter = connection.lent(to)?;
    if !counter.take(uapi::ALPC_VIEWS_LENT_MAX) {
        return Err(Outcome::Limit.into());
    }
    // Dropped with no lock held.
    let mut room = None;
    let lent = section
        .object()
        .arena()
        .with_slot(section.file(), start, |slot| {
            if slot.open != Open::All {
                return Err(Outcome::Lent.into());
            }
            if ask.size > bytes_of(slot.pages.len()) {
                return Err(EINVAL.into());
            }
            if to == Side::Server {
                let pages = pages_of(ask.size).ok_or(EINVAL)?;
                room = Some(connection.charge_room(pages).map_err(|_| Outcome::Limit)?);
            }
            let place = charged(size_of::<Loan>(), UniqueArc::<Loan>::new_uninit)?;
            let loan = place.write(Loan {
                section: section.clone(),
                start,
                pages: slot.pages.clone(),
                size: ask.size,
                secure,
                auto_release: ask.flags & uapi::ALPC_VIEW_AUTO_RELEASE != 0,
                lent: counter.clone(),
                room: room.take(),
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
        return window::release(&place);
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
            })
            .unwrap_or(Err(ENXIO))?,
        None => {
            let (bytes, secure) = window::held(&place)?;
            (bytes, uapi::ALPC_VIEW_STATE_HELD, secure)
        }
    };
    arg.size = bytes;
    arg.state = state;
    arg.flags = match secure {
        true => uapi::ALPC_VIEW_SECURE,
        false => 0,
    };
    copy_struct_out(size, addr, &arg)?;
    Ok(0)
}
