// SPDX-License-Identifier: GPL-2.0

//! Handles: open files that travel with a message, and become descriptors of the
//! receiver's only when it claims them.
//!
//! A message may wait in a queue for ever, so a file in it must not keep that queue:
//! nobody would ever look for such circles. Hence only files go in that can be told
//! surely to hold no file that could hold a port, see `alpc_shim_file_kind`.
#![deny(unsafe_code)]

use crate::{
    buffer::{
        copy_range_out,
        copy_struct_in, //
    },
    call::Scope,
    charge::{
        Charge,
        Charger, //
    },
    open_file::{
        Bundle,
        Sendable, //
    },
    outcome::{
        Failure,
        Outcome, //
    },
    takes::Takes,
    uapi, //
};
use core::mem::{
    offset_of,
    size_of, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

const ENTRY: usize = size_of::<uapi::alpc_handle>();
const ATTRIBUTE: usize = size_of::<uapi::alpc_attr_handle>();

/// Entries that are copied at once, on the stack.
const STEP: usize = 8;

/// The least room for files, and the most that is kept for the next message.
const MIN_ROOM: usize = 4;
const KEEP_ROOM: usize = 16;

/// Whether a sender's attribute makes sense.
pub(crate) fn is_valid(ask: &uapi::alpc_attr_handle) -> bool {
    ask.flags == 0 && (1..=uapi::ALPC_HANDLES_MAX).contains(&ask.count)
}

/// Whether a receiver's does.
pub(crate) fn is_valid_room(ask: &uapi::alpc_attr_handle) -> bool {
    const FLAGS: u32 = uapi::ALPC_HANDLES_CLAIM | uapi::ALPC_HANDLES_INHERIT;
    ask.flags & !FLAGS == 0 && (ask.count == 0) == (ask.handles == 0)
}

/// The handles of one message.
pub(crate) struct Handles {
    /// Kept empty for the next message, if it is small.
    bundle: Option<KBox<Bundle>>,
}

impl Handles {
    /// None.
    pub(crate) const fn new() -> Self {
        Self { bundle: None }
    }

    fn files(&self) -> &[Sendable] {
        self.bundle.as_ref().map_or(&[], |bundle| bundle.files())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.files().len()
    }

    /// Bytes of memory that they take.
    pub(crate) fn footprint(&self) -> usize {
        self.bundle.as_ref().map_or(0, |bundle| bundle.footprint())
    }

    /// Empty, with room for so many.
    fn room(&mut self, count: usize, owner: &Arc<Charger>) -> Result<&mut Bundle> {
        let bundle = match self.bundle.take() {
            Some(bundle) if bundle.room() >= count => bundle,
            _ => Bundle::new(count.max(MIN_ROOM), owner)?,
        };
        Ok(self.bundle.insert(bundle))
    }

    /// Takes references to the files that the caller names, of which every one must be of a kind
    /// that the other side takes. `attribute` is where the caller's attribute stands; `owner` is
    /// whose the caller's side is. What has been taken when it fails goes with
    /// [`clear`](Self::clear).
    pub(crate) fn capture(
        &mut self,
        attribute: u64,
        ask: &uapi::alpc_attr_handle,
        takes: Takes,
        owner: &Arc<Charger>,
        charge: Charge,
    ) -> Result<(), Failure> {
        let count = ask.count as usize;
        let bundle = self.room(count, owner)?;
        bundle.begin(owner, charge)?;
        for first in (0..count).step_by(STEP) {
            let entries = read(ask.handles, first, count)?;
            for (at, entry) in (first..count).zip(entries) {
                match take(entry, takes) {
                    Ok(file) => bundle.push(file)?,
                    Err((failure, kind)) => {
                        refuse(attribute, ask, at, entry, kind);
                        return Err(failure);
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells the receiver how many there are, and of the first ones of which kind they are.
    /// `attribute` is where its attribute stands.
    pub(crate) fn show(&self, attribute: u64, ask: &uapi::alpc_attr_handle) -> Result {
        let files = self.files();
        let shown = files.len().min(ask.count as usize);
        for first in (0..shown).step_by(STEP) {
            let mut entries = [uapi::alpc_handle::default(); STEP];
            for (entry, file) in entries.iter_mut().zip(files.iter().skip(first)) {
                *entry = unclaimed(file);
            }
            let some = shown.saturating_sub(first).min(STEP);
            let len = some.saturating_mul(ENTRY);
            copy_range_out(len, entry_addr(ask.handles, first)?, &entries, 0..len)?;
        }
        let answer = uapi::alpc_attr_handle {
            // CAST: At most `ALPC_HANDLES_MAX`.
            count: files.len() as u32,
            index: 0,
            error: 0,
            ..*ask
        };
        let from = offset_of!(uapi::alpc_attr_handle, count);
        copy_range_out(ATTRIBUTE, attribute, &answer, from..ATTRIBUTE)
    }

    /// Claims what the receiver wants claimed at once. It has the message, so this can't fail, but
    /// it may end early.
    pub(crate) fn claim_at_receive(&self, attribute: u64, ask: &uapi::alpc_attr_handle) {
        let mut claimed = 0;
        let inherit = ask.flags & uapi::ALPC_HANDLES_INHERIT != 0;
        let mut error = 0;
        for (at, file) in (0..ask.count).zip(self.files()) {
            let installed = entry_addr(ask.handles, at as usize)
                .and_then(|addr| file.install(addr.wrapping_add(FD), inherit));
            if let Err(reason) = installed {
                error = reason.to_errno().unsigned_abs();
                break;
            }
            claimed = at.saturating_add(1);
        }
        let answer = uapi::alpc_attr_handle {
            index: claimed,
            error,
            ..*ask
        };
        let from = offset_of!(uapi::alpc_attr_handle, index);
        // The caller can see from the entries, too, how far it went.
        let _ = copy_range_out(ATTRIBUTE, attribute, &answer, from..ATTRIBUTE);
    }

    /// Lets go of all. Holds nobody up but the sender's process.
    pub(crate) fn clear(&mut self) {
        let Some(bundle) = &mut self.bundle else {
            return;
        };
        let closed = bundle.close_quickly();
        if closed && bundle.room() <= KEEP_ROOM {
            return;
        }
        if let Some(bundle) = self.bundle.take().filter(|_| !closed) {
            KBox::into_inner(bundle).close_elsewhere();
        }
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        self.clear();
    }
}

const FD: u64 = offset_of!(uapi::alpc_handle, fd) as u64;

/// Where an entry of an array stands.
fn entry_addr(handles: u64, index: usize) -> Result<u64> {
    let offset = index.checked_mul(ENTRY).ok_or(EFAULT)?;
    handles.checked_add(offset as u64).ok_or(EFAULT)
}

/// Some entries of an array of `count`, from `first` on; zeroes behind its end.
fn read(handles: u64, first: usize, count: usize) -> Result<[uapi::alpc_handle; STEP]> {
    let some = count.saturating_sub(first).min(STEP);
    let len = some.saturating_mul(ENTRY);
    copy_struct_in(len, entry_addr(handles, first)?, len)
}

/// What a receiver sees of a file that it has not claimed.
fn unclaimed(file: &Sendable) -> uapi::alpc_handle {
    uapi::alpc_handle {
        fd: -1,
        kind: file.kind(),
    }
}

/// The file that an entry names, or why not and of which kind it is.
fn take(entry: uapi::alpc_handle, takes: Takes) -> Result<Sendable, (Failure, u32)> {
    let file = match Sendable::from_fd(entry.fd) {
        Ok(file) => file,
        Err(error) => return Err((Failure::Special(Outcome::BadHandle, error), 0)),
    };
    let kind = file.kind();
    if kind == 0 || (entry.kind != 0 && entry.kind != kind) {
        return Err((Outcome::BadHandle.into(), kind));
    }
    match kind & takes.kinds() {
        0 => Err((Outcome::NotTaken.into(), kind)),
        _ => Ok(file),
    }
}

/// Tells a sender which of its handles is refused.
#[cold]
fn refuse(
    attribute: u64,
    ask: &uapi::alpc_attr_handle,
    at: usize,
    entry: uapi::alpc_handle,
    kind: u32,
) {
    // The outcome tells the rest, so what can't be written changes nothing.
    if let Ok(addr) = entry_addr(ask.handles, at) {
        let from = offset_of!(uapi::alpc_handle, kind);
        let answer = uapi::alpc_handle { kind, ..entry };
        let _ = copy_range_out(ENTRY, addr, &answer, from..ENTRY);
    }
    // CAST: At most `ALPC_HANDLES_MAX`.
    let index = at as u32;
    let answer = uapi::alpc_attr_handle { index, ..*ask };
    let range =
        offset_of!(uapi::alpc_attr_handle, index)..offset_of!(uapi::alpc_attr_handle, error);
    let _ = copy_range_out(ATTRIBUTE, attribute, &answer, range);
}

/// `ALPC_IOC_CLAIM`.
pub(crate) fn claim(scope: Scope<'_>, size: usize, addr: u64) -> Result<isize> {
    const FIRST: usize = size_of::<uapi::alpc_claim>();
    let arg: uapi::alpc_claim = copy_struct_in(size, addr, FIRST)?;
    if arg.flags & !uapi::ALPC_HANDLES_INHERIT != 0 || arg.count == 0 {
        return Err(EINVAL);
    }
    let write = |claimed: u32, outcome: u32| {
        let answer = uapi::alpc_claim {
            claimed,
            outcome,
            ..arg
        };
        let from = offset_of!(uapi::alpc_claim, claimed);
        copy_range_out(size, addr, &answer, from..FIRST)
    };
    // A caller that can't be told is found out before it gets anything: success is written now,
    // and put right if there is none.
    write(arg.count, uapi::ALPC_OUTCOME_OK)?;
    let mut claimed = 0;
    match install(scope, &arg, &mut claimed) {
        Ok(()) => Ok(0),
        Err(failure) => {
            let _ = write(claimed, failure.outcome().unwrap_or(arg.outcome));
            Err(failure.errno())
        }
    }
}

/// Installs what a claim names, and counts it.
fn install(scope: Scope<'_>, arg: &uapi::alpc_claim, claimed: &mut u32) -> Result<(), Failure> {
    let held = scope.port.lock().held_body(
        scope.conn(),
        scope.side(),
        arg.id,
        arg.callback_id, //
    );
    // It stays as it is while this refers to it, whatever becomes of the conversation.
    let message = held?;
    let range = arg.index as usize..(arg.index as usize).saturating_add(arg.count as usize);
    let Some(files) = message.cargo.handles.files().get(range) else {
        return Err(Failure::Special(Outcome::BadHandle, EBADF));
    };
    let inherit = arg.flags & uapi::ALPC_HANDLES_INHERIT != 0;
    for (at, file) in files.iter().enumerate() {
        let addr = entry_addr(arg.handles, at)?;
        copy_range_out(ENTRY, addr, &unclaimed(file), 0..ENTRY)?;
        file.install(addr.wrapping_add(FD), inherit)?;
        *claimed = claimed.saturating_add(1);
    }
    Ok(())
}
