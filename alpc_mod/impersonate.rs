// SPDX-License-Identifier: GPL-2.0

//! Impersonation: a thread of a receiver uses files as the sender of a held message may.
//!
//! What it takes on is decided in `logic/impersonate.rs`. The way back is a descriptor of its own:
//! an [`Impersonation`] keeps what the thread was, and is undone by that thread only. A thread that
//! loses the descriptor stays what it has become, which is never more than it could be by itself.
#![deny(unsafe_code)]

use crate::{
    audit,
    buffer::{
        copy_range_out,
        copy_struct_in, //
    },
    call::Scope,
    credentials::{
        Actor,
        Credentials,
        Worn, //
    },
    file::{
        new_file,
        ObjectFile,
        PollTable, //
    },
    inode::Act,
    ioctl,
    logic::{
        engine::Side,
        impersonate::decide, //
    },
    outcome::{
        Failure,
        Outcome, //
    },
    security::Subject,
    shared::shared_pinned,
    uapi, //
};
use core::mem::{
    offset_of,
    size_of, //
};
use kernel::{
    bindings,
    fs::file::File,
    new_spinlock,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow,
        SpinLock, //
    },
    task::Task, //
};

/// A thread's way back from what it has taken on.
#[pin_data]
pub(crate) struct Impersonation {
    /// The reference keeps its address from being used again.
    thread: ARef<Task>,
    /// Nothing before it is taken on, while it is being undone, and after that. Changed by that
    /// thread only; whoever has the descriptor may look at it.
    #[pin]
    worn: SpinLock<Option<Worn>>,
}

/// `ALPC_IOC_IMPERSONATE`.
pub(crate) fn impersonate(scope: Scope<'_>, size: usize, addr: u64) -> Result<isize> {
    const FIRST: usize = size_of::<uapi::alpc_impersonate>();
    let arg: uapi::alpc_impersonate = copy_struct_in(size, addr, FIRST)?;
    let write = |outcome: u32| {
        let answer = uapi::alpc_impersonate { outcome, ..arg };
        let at = offset_of!(uapi::alpc_impersonate, outcome);
        copy_range_out(size, addr, &answer, ioctl::field(at))
    };
    try_impersonate(scope, &arg, write)
        .map_err(|failure| ioctl::report(failure, arg.outcome, write))
}

fn try_impersonate(
    scope: Scope<'_>,
    arg: &uapi::alpc_impersonate,
    write: impl FnOnce(u32) -> Result,
) -> Result<isize, Failure> {
    if arg.flags != 0 || arg.reserved != 0 {
        return Err(EINVAL.into());
    }
    let (conn, side) = (scope.conn(), scope.side());
    // The lock is released before what it gives may be dropped.
    let held = scope
        .port
        .lock()
        .held_body(conn, side, arg.id, arg.callback_id);
    let message = held?;
    let peer;
    let connection = match scope.end {
        Some(end) => &end.connection,
        None => {
            let found = scope.port.lock().peer_of(arg.id);
            peer = found?;
            &peer
        }
    };
    let from = side.other();
    if from == Side::Client && !connection.granted(uapi::ALPC_RIGHT_IMPERSONATE) {
        return Err(Outcome::NotGranted.into());
    }
    scope.port.permits(Act::Impersonate)?;
    let subject = Subject::of(&message, connection, from)?;
    let client = Credentials::of(subject.who);
    let actor = Actor::current()?;
    let theirs = client.capabilities_here(subject.effective_only);
    let guise = decide(&actor, &client, theirs).ok_or(Outcome::BeyondReach)?;
    let thread: &Task = current!();
    let impersonation = shared_pinned(pin_init!(Impersonation {
        thread: thread.into(),
        worn <- new_spinlock!(None, "Impersonation::worn"),
    }))?;
    let file = new_file(impersonation.clone())?;
    // A caller that can't be told is found out before anything has happened.
    write(uapi::ALPC_OUTCOME_OK)?;
    let worn = actor.take_on(&client, guise)?;
    impersonation.keep(worn);
    let (name, payer) = (scope.port.name.as_ref(), connection.owner(from));
    audit::impersonated(subject.who, subject.recorded, name, payer);
    Ok(file.install())
}

impl Impersonation {
    /// There is something to undo.
    fn keep(&self, worn: Worn) {
        let before = self.worn.lock().replace(worn);
        drop(before);
    }

    /// Undoes it for the current task, which must be the one that it is for.
    fn revert(&self) -> Result {
        let thread: &Task = current!();
        if thread.as_ptr() != self.thread.as_ptr() {
            return Err(EPERM);
        }
        let worn = self.worn.lock().take();
        let worn = worn.ok_or(EALREADY)?;
        worn.take_off().inspect_err(|_| self.keep(worn))
    }
}

impl ObjectFile for Impersonation {
    const NAME: &'static CStr = c"[alpc-impersonation]";

    fn ioctl(
        this: ArcBorrow<'_, Self>,
        _file: &File,
        _nonblock: bool,
        cmd: u32,
        _arg: usize,
    ) -> Result<isize> {
        match cmd {
            uapi::ALPC_IOCTL_REVERT => this.revert().map(|()| 0),
            _ => Err(ENOTTY),
        }
    }

    fn poll<'file>(&'file self, _table: PollTable<'file>) -> u32 {
        bindings::POLLERR
    }

    fn show_fdinfo(this: ArcBorrow<'_, Self>, m: &SeqFile) {
        let state = match this.worn.lock().is_some() {
            true => "on",
            false => "over",
        };
        seq_print!(m, "alpc-impersonation:\t{state}\n");
    }

    fn release(this: Arc<Self>) {
        // For anybody else it is too late: only a thread itself can change what it is.
        let _ = this.revert();
    }
}
