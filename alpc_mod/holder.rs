// SPDX-License-Identifier: GPL-2.0

//! Who has received what: noted before a message is given to its receiver, so that those who wait
//! for an answer are told when none can come any more.
//!
//! A holder is a process, told by its table of descriptors: threads come and go, and share what
//! they have received. It holds until it has no descriptor left that it could answer by. Where
//! the receiver asks for it, it is a single thread.
#![deny(unsafe_code)]

use crate::{
    call::Scope,
    comm::{
        CommPort,
        Connection, //
    },
    file_table::FileTable,
    logic::engine::{
        Delivery,
        Ending,
        Flush,
        Hold,
        Next,
        Refusal,
        Side,
        Source,
        Who, //
    },
    outcome::Failure,
    port::{
        Kernel,
        Locked,
        Port, //
    },
    thread_end::{
        self,
        Watch, //
    }, //
};
use core::ptr;
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    }, //
};

/// The process of the current thread.
#[inline(always)]
pub(crate) fn current() -> Who {
    Who {
        files: FileTable::current_number(),
        thread: 0,
        since: 0,
    }
}

/// The current thread, or its process.
fn who(is_thread: bool) -> Who {
    match is_thread {
        true => {
            let (thread, since) = thread_end::current();
            Who {
                thread,
                since,
                ..current()
            }
        }
        false => current(),
    }
}

/// Notes that the caller holds what it is about to receive. It must be able to answer.
pub(crate) fn take_on(
    scope: Scope<'_>,
    ends_with_thread: bool,
    delivery: &Delivery<Kernel>,
) -> Result<(), Failure> {
    if !delivery.open || (delivery.noted && !ends_with_thread) {
        return Ok(());
    }
    note_client(scope);
    let (at, who) = (scope.source(), who(ends_with_thread));
    let can_answer = note(scope.port, at, who, || {
        let held = scope.port.lock().hold(delivery, at, who)?;
        Ok((held, delivery.conn))
    })?;
    // What has been received goes back, and so to others.
    can_answer.then_some(()).ok_or(EBADF.into())
}

/// Notes that while the lock is held under which the message has been received, if that can be.
pub(crate) fn take_on_at_once(
    engine: &mut Locked<'_>,
    scope: Scope<'_>,
    delivery: &mut Delivery<Kernel>,
) {
    if delivery.open {
        note_client(scope);
        let held = engine.hold(delivery, scope.source(), current());
        delivery.noted = matches!(held, Ok(Hold::Sure));
    }
}

/// Makes the caller the holder of a conversation that its side holds.
pub(crate) fn adopt(
    scope: Scope<'_>,
    ends_with_thread: bool,
    id: u64,
    turn: u32,
) -> Result<(), Failure> {
    note_client(scope);
    let (port, conn) = (scope.port, scope.conn());
    let (at, who) = (scope.source(), who(ends_with_thread));
    if note(port, at, who, || port.lock().adopt(conn, at, id, turn, who))? {
        return Ok(());
    }
    // It is held by who can't answer, and what closed the last descriptor may have looked before
    // that. Who held it before may be gone.
    let refused = port.step(|engine, fx| engine.lose_adopted(conn, at, id, turn, who, fx));
    refuse(port, refused);
    Err(EBADF.into())
}

/// Before anything is noted of a client's: who closes its port looks whether there is anything.
fn note_client(scope: Scope<'_>) {
    if let Some(end) = scope.end.filter(|end| end.side == Side::Client) {
        end.connection.note_held();
    }
}

/// Notes who holds something, and says whether it can answer.
fn note(
    port: &Port,
    at: Source,
    who: Who,
    mut hold: impl FnMut() -> Result<(Hold, u32), Refusal>,
) -> Result<bool, Failure> {
    loop {
        let (held, conn) = match hold() {
            Ok(held) => held,
            Err(Refusal::Grow) => {
                port.grow_holders()?;
                continue;
            }
            Err(Refusal::NotWatched) => {
                watch(port, at, who)?;
                continue;
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let Hold::Unsure(stamp) = held else {
            return Ok(true);
        };
        match FileTable::with_current(|table| Reach::of(port, at, conn, table)) {
            // Unless it was closed in the meantime.
            Some(Reach::Whole) if port.lock().is_sure(at, who, stamp) => return Ok(true),
            Some(Reach::Whole) => {}
            // Who closes a connection's port looks at this first: it must be set before that
            // port is found to be open.
            Some(Reach::Connection) if port.by_end.load(Relaxed) => return Ok(true),
            Some(Reach::Connection) => port.by_end.store(true, Relaxed),
            // Another thread has closed it since this call began.
            Some(Reach::Nothing) | None => return Ok(false),
        }
    }
}

/// Has the end of the current thread told.
fn watch(port: &Port, at: Source, who: Who) -> Result<(), Failure> {
    let watch = Watch::new(port, at, who)?;
    let refused = port.lock().watch(at, who, watch);
    match refused {
        Ok(()) | Err((None, _)) => Ok(()),
        Err((Some(Refusal::Grow), _)) => Ok(port.grow_holders()?),
        Err((Some(refusal), _)) => Err(refusal.into()),
    }
}

/// How much a table of descriptors can answer.
enum Reach {
    /// All that is received at the port, or at the client's.
    Whole,
    /// What comes from one connection.
    Connection,
    /// Nothing.
    Nothing,
}

impl Reach {
    fn of(port: &Port, at: Source, conn: u32, table: &FileTable) -> Self {
        let is_whole = match at {
            Source::Side(conn, Side::Client) => has_end(port, conn, Side::Client, table),
            _ => table.has::<Port>(|other| ptr::eq(other, port)),
        };
        match at {
            _ if is_whole => Self::Whole,
            Source::Side(_, Side::Client) => Self::Nothing,
            _ if has_end(port, conn, Side::Server, table) => Self::Connection,
            _ => Self::Nothing,
        }
    }
}

/// Whether a table has a descriptor of one end of a connection.
fn has_end(port: &Port, conn: u32, side: Side, table: &FileTable) -> bool {
    table.has::<CommPort>(|end| {
        end.side == side && end.index() == conn && ptr::eq(&**end.port(), port)
    })
}

/// A connection, if it is one, has been refused as nobody can accept it any more.
pub(crate) fn refuse(port: &Port, refused: Option<Arc<Connection>>) {
    if let Some(connection) = refused {
        connection.not_pending();
        port.lose_way();
    }
}

/// A table of descriptors has let go of one. If that was the last, what it holds is lost.
pub(crate) fn flush(port: &Port, at: Source, table: &FileTable) {
    let who = Who {
        files: table.number(),
        thread: 0,
        since: 0,
    };
    let found = port.lock().flush(at, who);
    let Flush::Held(stamp) = found else {
        return;
    };
    let ends = table.is_ending();
    let conn = match at {
        Source::Side(conn, _) => conn,
        Source::Port => u32::MAX,
    };
    if !ends {
        match (Reach::of(port, at, conn, table), at) {
            // Where one more has been closed meanwhile, that close sees to it.
            (Reach::Whole, _) => {
                let _ = port.lock().is_sure(at, who, stamp);
                return;
            }
            (Reach::Connection, Source::Side(..)) => return,
            _ => {}
        }
    }
    if !ends {
        // Before those ports are looked for, as in `note`.
        port.by_end.store(true, Relaxed);
    }
    let is_server = |end: &CommPort| end.side == Side::Server && ptr::eq(&**end.port(), port);
    let has_ends = !ends && at == Source::Port && table.has::<CommPort>(is_server);
    let mut ending = Ending::default();
    loop {
        let next = port.lock().next_held(at, who, &mut ending);
        match next {
            Next::Held(held) if has_ends && has_end(port, held.conn, Side::Server, table) => {}
            Next::Held(held) => {
                let refused = port.step(|engine, fx| engine.lose(at, who, held, fx));
                refuse(port, refused);
            }
            Next::Again => {}
            Next::Done => return,
        }
    }
}
