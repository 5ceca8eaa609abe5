// SPDX-License-Identifier: GPL-2.0

//! What travels with a message beside its payload: a view, one that goes back, handles,
//! the right to the caller's memory, a security context, the sender's origin,
//! who it is for.
//!
//! It is put in by the sender before anybody else has the message, does not change
//! while the message is under way or held, and goes with the message: the view goes
//! back, the files are closed.
#![deny(unsafe_code)]

use crate::{
    buffer::charged,
    cred::Origin,
    handle::Handles,
    memory::Memory,
    outcome::Failure,
    required::Required,
    security::Attached,
    view::Loan,
    window::Given, //
};
use core::mem::size_of;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// What a message carries.
pub(crate) struct Cargo {
    /// Lent to the receiver.
    pub(crate) view: Option<Arc<Loan>>,
    pub(crate) handles: Handles,
    /// Kept empty for the next message.
    rest: Option<KBox<Rest>>,
}

/// What few messages carry: it is out of the way, so that all others are small.
#[derive(Default)]
struct Rest {
    /// What its sender held, and gives back to whom it belongs.
    given: Option<Arc<Given>>,
    memory: Option<Arc<Memory>>,
    /// What it says of its sender's identity.
    security: Option<Attached>,
    /// That of one message only: the next one has another.
    origin: Option<Origin>,
    required: Option<Required>,
}

/// What the sender of a message has still to see to once the message is sent.
pub(crate) struct Parting {
    given: Option<Arc<Given>>,
    /// A view that leaves.
    view: Option<Arc<Loan>>,
}

impl Parting {
    /// Whether it may be seen to after the call's wait: nobody waits for what goes back but who
    /// receives the message, and no place in a section is kept meanwhile.
    pub(crate) fn can_wait(&self) -> bool {
        self.view.is_none() && self.given.as_ref().is_none_or(|given| given.goes_home())
    }

    /// The call that sends the message is over. In vain if it has not sent: all is as before then.
    pub(crate) fn end_here(&self) {
        if let Some(given) = &self.given {
            given.end_here();
        }
        if let Some(view) = &self.view {
            view.end_here();
        }
    }
}

impl Cargo {
    /// Nothing.
    pub(crate) const fn new() -> Self {
        Self {
            view: None,
            handles: Handles::new(),
            rest: None,
        }
    }

    fn rest(&self) -> Option<&Rest> {
        self.rest.as_deref()
    }

    fn rest_mut(&mut self) -> Result<&mut Rest> {
        match &mut self.rest {
            Some(rest) => Ok(rest),
            none => {
                let room = charged(size_of::<Rest>(), KBox::<Rest>::new_uninit)?;
                Ok(none.insert(KBox::write(room, Rest::default())))
            }
        }
    }

    fn given(&self) -> Option<&Arc<Given>> {
        self.rest()?.given.as_ref()
    }

    /// What its sender has to see to once it is sent.
    pub(crate) fn parting(&self) -> Option<Parting> {
        let parting = Parting {
            given: self.given().cloned(),
            view: self.view.as_ref().filter(|loan| loan.leaves()).cloned(),
        };
        (parting.given.is_some() || parting.view.is_some()).then_some(parting)
    }

    pub(crate) fn memory(&self) -> Option<&Arc<Memory>> {
        self.rest()?.memory.as_ref()
    }

    /// Where its sender was, if who receives it takes that.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.rest()?.origin.as_ref()
    }

    /// Whether the current task may receive it.
    pub(crate) fn is_for_current(&self) -> bool {
        let required = self.rest().and_then(|rest| rest.required);
        required.is_none_or(|required| required.is_current())
    }

    /// The context that goes with it.
    pub(crate) fn security(&self) -> Option<&Attached> {
        self.rest()?.security.as_ref()
    }

    /// The same to be changed.
    pub(crate) fn security_mut(&mut self) -> Option<&mut Attached> {
        self.rest.as_deref_mut()?.security.as_mut()
    }

    /// Puts in a context, which is taken when there is room for it.
    pub(crate) fn add_security(
        &mut self,
        take: impl FnOnce() -> Result<Attached, Failure>,
    ) -> Result<(), Failure> {
        let rest = self.rest_mut()?;
        rest.security = Some(take()?);
        Ok(())
    }

    /// Puts in what goes back, which is taken when nothing else can fail.
    pub(crate) fn add_given(
        &mut self,
        take: impl FnOnce() -> Result<Arc<Given>, Failure>,
    ) -> Result<(), Failure> {
        let rest = self.rest_mut()?;
        rest.given = Some(take()?);
        Ok(())
    }

    pub(crate) fn add_memory(&mut self, memory: Arc<Memory>) -> Result {
        self.rest_mut()?.memory = Some(memory);
        Ok(())
    }

    pub(crate) fn require(&mut self, required: Required) -> Result {
        self.rest_mut()?.required = Some(required);
        Ok(())
    }

    /// Puts in where the current task is.
    pub(crate) fn add_origin(&mut self) -> Result {
        self.rest_mut()?.origin = Some(Origin::current());
        Ok(())
    }

    /// The message has not been sent.
    pub(crate) fn recall(&self) {
        if let Some(given) = self.given() {
            given.recall();
        }
        if let Some(security) = self.security() {
            security.recall();
        }
        if let Some(loan) = &self.view {
            loan.recall();
        }
    }

    /// The receiver is about to learn of the message.
    pub(crate) fn arrive(&self) {
        if let Some(given) = self.given() {
            given.end();
        }
    }

    /// Bytes of memory that it takes, or a little more.
    pub(crate) fn footprint(&self) -> u32 {
        const REST: usize = size_of::<Rest>() + size_of::<Loan>() + size_of::<Given>();
        // CAST: It is some hundred bytes, and those of at most `ALPC_HANDLES_MAX` handles.
        (self.handles.footprint().saturating_add(REST)) as u32
    }

    /// Lets go of everything. Says whether the message can be used again.
    pub(crate) fn clear(&mut self) -> bool {
        self.view = None;
        self.handles.clear();
        let Some(rest) = &mut self.rest else {
            return true;
        };
        let once = rest.origin.is_some();
        **rest = Rest::default();
        !once
    }
}
