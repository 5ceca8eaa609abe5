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
//! release, or the end of its mapping. Each side's slot is under the lock of its own arena, which
//! the other side never takes: whom the view is lent to is in its [`Backing`].
//!
//! A view that its message deletes leaves its owner's slot with the message, and the sender removes
//! the slot when its call is over: the receiver has nothing to do with it.
#![deny(unsafe_code)]

use crate::{
    backing::Backing,
    buffer::{
        charged,
        copy_range_out,
        copy_struct_in,
        copy_struct_out, //
    },
    charge::Charge,
    comm::Connection,
    file::FileRef,
    inode::Act,
    ioctl,
    logic::engine::Side,
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
    section::Section,
    slot::Then,
    uapi,
    window, //
};
use core::{
    mem::{
        offset_of,
        size_of, //
    },
    sync::atomic::{
        AtomicBool,
        Ordering::{
            Acquire,
            Release, //
        }, //
    },
};
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock,
        UniqueArc, //
    }, //
};

/// A view that is lent. Once it has ended it keeps nothing of the view, whoever keeps it.
#[pin_data]
pub(crate) struct Loan {
    pub(crate) size: u64,
    pub(crate) secure: bool,
    /// The message deletes the view.
    leaves: bool,
    /// Where `Live::lent` is, to be compared.
    lent: usize,
    /// It is over, and so is all that comes with that. Written under the lock.
    ended: AtomicBool,
    #[pin]
    state: SpinLock<State>,
}

struct State {
    /// None when it has ended.
    live: Option<Live>,
    /// Of a view that leaves, until its sender has seen to it.
    from: Option<OwnersSlot>,
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            live.end();
        }
    }
}

/// A loan that has not ended.
struct Live {
    backing: Arc<Backing>,
    /// The owner has no access meanwhile.
    exclusive: bool,
    /// Where it is counted. The connection itself may be gone before.
    lent: Arc<Counter>,
    /// What it takes of a server's window.
    room: Option<Charge>,
}

impl Live {
    fn end(&self) {
        self.backing.end_loan(self.exclusive);
        self.lent.take_one_off();
        if let Some(room) = &self.room {
            room.end();
        }
    }
}

/// The slot of a view in its owner's section.
struct OwnersSlot {
    section: FileRef<Section>,
    start: u32,
    id: u64,
}

impl OwnersSlot {
    /// Puts the view back, unless the slot is gone.
    fn restore(&self, backing: Arc<Backing>) {
        let section = self.section.object();
        let arena = section.arena();
        arena.with_slot(self.section.file(), self.start, |slot| {
            if slot.id != self.id {
                return Err(());
            }
            backing.set_owned(true);
            slot.backing = Some(backing);
            Ok(((), Then::Keep))
        });
    }
}

impl Loan {
    /// The view's pages, until it has ended.
    pub(crate) fn backing(&self) -> Option<Arc<Backing>> {
        let state = self.state.lock();
        state.live.as_ref().map(|live| live.backing.clone())
    }

    /// Whether it has ended.
    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Acquire)
    }

    /// Whether it is counted there, if it has not ended: so it was lent along that connection, in
    /// that direction.
    pub(crate) fn is_counted(&self, lent: &Arc<Counter>) -> bool {
        self.lent == address(lent)
    }

    /// Whether its sender has something to see to once the message is sent.
    pub(crate) fn leaves(&self) -> bool {
        self.leaves
    }

    /// Gives the view back to its owner, if that still has it. It may be called by many and often:
    /// the view is back when this returns. Takes no lock but spinlocks.
    #[inline]
    pub(crate) fn end(&self) {
        if !self.has_ended() {
            self.end_now();
        }
    }

    #[inline(never)]
    fn end_now(&self) {
        let mut state = self.state.lock();
        let Some(live) = state.live.take() else {
            return;
        };
        // Under the lock, so that nobody goes on before it is over.
        live.end();
        self.ended.store(true, Release);
        drop(state);
        drop(live);
    }

    /// Ends it for a message that has not been sent: its owner has the view as before. For the
    /// sender only.
    pub(crate) fn recall(&self) {
        let from = self.state.lock().from.take();
        if let (Some(from), Some(backing)) = (from, self.backing()) {
            from.restore(backing);
        }
        self.end();
    }

    /// The call that sends the message is over: if it has sent, the view's place is free. For the
    /// sender only.
    pub(crate) fn end_here(&self) {
        let from = self.state.lock().from.take();
        if let Some(OwnersSlot { section, start, id }) = from {
            section.object().delete(section.file(), start, Some(id));
        }
    }
}

/// Where a counter is.
fn address(counter: &Arc<Counter>) -> usize {
    core::ptr::from_ref::<Counter>(counter).addr()
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
    let section = place.file::<Section>().ok_or(Outcome::NotAView)?;
    connection.port.permits(Act::Lend)?;
    let start = place.page;
    let secure = ask.flags & uapi::ALPC_VIEW_SECURE != 0;
    let leaves = ask.flags & uapi::ALPC_VIEW_AUTO_RELEASE != 0;
    // Before the view is changed: nothing fails after.
    let place_for_loan = charged(size_of::<Loan>(), UniqueArc::<Loan>::new_uninit)?;
    let counter = connection.lent(to)?;
    if !counter.take(uapi::ALPC_VIEWS_LENT_MAX) {
        return Err(Outcome::Limit.into());
    }
    // Dropped with no lock held.
    let mut room = None;
    let object = section.object();
    let lent = object.arena().with_slot(section.file(), start, |slot| {
        let backing = slot.backing.clone().ok_or(Outcome::NotAView)?;
        if !backing.is_open() {
            return Err(Outcome::Lent.into());
        }
        if ask.size > bytes_of(backing.pages().len()) {
            return Err(EINVAL.into());
        }
        if to == Side::Server {
            let pages = pages_of(ask.size).ok_or(EINVAL)?;
            room = Some(connection.charge_room(pages).map_err(|_| Outcome::Limit)?);
        }
        if leaves {
            backing.set_owned(false);
            slot.backing = None;
        }
        // Nobody else closes it: that is done under this lock only.
        backing.lend(secure || leaves);
        let then = match secure || leaves {
            true => Then::Hide,
            false => Then::Keep,
        };
        Ok(((backing, slot.id), then))
    });
    let (backing, id) = lent
        .unwrap_or_else(|| Err(Failure::from(Outcome::NotAView)))
        .inspect_err(|_| counter.give_back())?;
    let lent = address(&counter);
    let state = State {
        live: Some(Live {
            backing,
            exclusive: secure || leaves,
            lent: counter,
            room,
        }),
        from: leaves.then_some(OwnersSlot { section, start, id }),
    };
    let Ok(loan) = place_for_loan.pin_init_with(pin_init!(Loan {
        size: ask.size,
        secure,
        leaves,
        lent,
        ended: AtomicBool::new(false),
        state <- new_spinlock!(state, "Loan::state"),
    }));
    Ok(Arc::from(loan))
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
    match section.object().delete(section.file(), place.page, None) {
        true => Ok(()),
        false => Err(Outcome::NotAView.into()),
    }
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
                let backing = slot.backing.as_ref().ok_or(ENXIO)?;
                let state = match backing.is_lent() {
                    false => uapi::ALPC_VIEW_STATE_OWNED,
                    true => uapi::ALPC_VIEW_STATE_LENT,
                };
                let bytes = bytes_of(backing.pages().len());
                Ok(((bytes, state, !backing.is_open()), Then::Keep))
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
