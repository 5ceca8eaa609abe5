// SPDX-License-Identifier: GPL-2.0

//! The address space of another process, used for a time.
//!
//! Who uses an address space may be the last to do so, as its process may die meanwhile. What is
//! then left of that process is torn down: all that is mapped, and every asynchronous input and
//! output, for each of which a user can make others wait for ever. So that is never done by who
//! has used it, but by a [`closing`](crate::closing) worker, at the expense of who offered it.

use crate::{
    charge::Charger,
    closing::Spare,
    ffi, //
};
use core::{
    mem::ManuallyDrop,
    ops::Deref, //
};
use kernel::{
    mm::{
        Mm,
        MmWithUser, //
    },
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        SpinLock, //
    }, //
};

/// How an address space is let go of.
struct Last {
    spare: Spare,
    /// Who pays for that, whoever offers the memory, if not the owner.
    payer: Option<Arc<Charger>>,
    /// Whose limits count it meanwhile: those of the connection, as for all else on it. Else who
    /// sends where somebody else has connected would have a limit that nothing is held to.
    owner: Arc<Charger>,
}

/// An address space that others may use as long as a process has it.
#[pin_data]
pub(crate) struct Space {
    mm: ARef<Mm>,
    /// What the last use ends in. Nothing once that has begun: no use begins after. Uses begin
    /// under the lock, and so does the end of the last one.
    #[pin]
    last: SpinLock<Option<Last>>,
}

impl Space {
    /// The address space, let go of at the current task's expense, on a connection or port that is
    /// `owner`'s. Memory is charged to the current task.
    pub(crate) fn new(mm: ARef<Mm>, owner: Arc<Charger>) -> Result<impl PinInit<Self>> {
        let last = Some(Last {
            spare: Spare::new()?,
            payer: match owner.is_of_current() {
                true => None,
                false => Some(Charger::of_current(&owner)?),
            },
            owner,
        });
        Ok(pin_init!(Self {
            mm,
            last <- new_spinlock!(last, "Space::last"),
        }))
    }

    /// Whether it is this one.
    pub(crate) fn is(&self, mm: &Mm) -> bool {
        self.mm.as_raw() == mm.as_raw()
    }

    /// Uses it until the result is dropped, which waits for nothing. Nothing if no process has it
    /// any more.
    pub(crate) fn hold(&self) -> Option<HeldSpace<'_>> {
        let last = self.last.lock();
        last.as_ref()?;
        let mm = self.mm.mmget_not_zero()?;
        drop(last);
        Some(HeldSpace {
            space: self,
            mm: ManuallyDrop::new(mm),
        })
    }
}

/// An address space in use.
pub(crate) struct HeldSpace<'a> {
    space: &'a Space,
    /// There until this is dropped.
    mm: ManuallyDrop<ARef<MmWithUser>>,
}

impl Deref for HeldSpace<'_> {
    type Target = MmWithUser;

    fn deref(&self) -> &MmWithUser {
        &self.mm
    }
}

impl Drop for HeldSpace<'_> {
    fn drop(&mut self) {
        // SAFETY: It is there, and nobody takes it but this.
        let mm = unsafe { ManuallyDrop::take(&mut self.mm) };
        let Some(mm) = give_up_unless_last(mm) else {
            return;
        };
        let mut last = self.space.last.lock();
        // Another use may have begun since.
        let Some(mm) = give_up_unless_last(mm) else {
            return;
        };
        // If it is the last one now, it is the last one of all: no other can begin. So no one else
        // has got here before.
        let end = last.take();
        drop(last);
        match end {
            Some(last) => {
                let payer = last.payer.unwrap_or_else(|| last.owner.clone());
                last.spare.end(LastUse(mm), payer, &last.owner);
            }
            None => core::mem::forget(mm),
        }
    }
}

/// Gives a use up, unless it is the last one: then it is still there.
fn give_up_unless_last(mm: ARef<MmWithUser>) -> Option<ARef<MmWithUser>> {
    // SAFETY: The use is ours to give up, and if it was given up it is not used from here on.
    match unsafe { ffi::alpc_shim_mmput_unless_last(mm.as_raw()) } {
        true => {
            core::mem::forget(mm);
            None
        }
        false => Some(mm),
    }
}

/// A use of an address space that is likely to be the last one.
pub(crate) struct LastUse(ARef<MmWithUser>);

impl LastUse {
    /// Ends it, and waits for the end of all that was in it. For threads of the kernel.
    pub(crate) fn end(self) {
        // SAFETY: The use is ours to give up, once.
        unsafe { ffi::alpc_shim_mmput_last(self.0.as_raw()) };
        core::mem::forget(self);
    }
}
