// SPDX-License-Identifier: GPL-2.0

//! A message as the kernel holds it, and the spare one that each port keeps for its sends.
//!
//! Each side of a conversation has a message of its own. When the conversation ends, the one that
//! began it becomes the spare one of the communication port that it was sent on, and its slot in
//! the port's table goes with it; the server's reply becomes that of the connection port. So a
//! thread that calls again, or replies again there, finds memory of the right size and its own
//! identity already captured, if no other thread has sent on its port meanwhile: such a call
//! allocates nothing. The only reference that it counts is the one that who receives the request
//! has beside the table's.

use crate::{
    buffer::{
        charged,
        Buffer, //
    },
    cargo::{
        Cargo,
        Parting, //
    },
    charge::Charge,
    comm::Connection,
    cred::Identity,
    logic::engine::{
        Body,
        NONE, //
    },
    outcome::{
        Failure,
        Outcome, //
    }, //
};
use core::{
    mem::swap,
    ptr::null_mut,
    sync::atomic::{
        AtomicPtr,
        AtomicU32,
        AtomicUsize,
        Ordering, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        Arc,
        UniqueArc, //
    }, //
};

/// Payload and sender.
///
/// Written only while it has one owner. From the moment the engine has it, it is
/// shared and does not change, but for `kept`.
pub(crate) struct Message {
    /// The payload.
    pub(crate) buffer: Buffer,
    /// What it carries beside the payload. Goes before the sender, whose process it is compared
    /// with then.
    pub(crate) cargo: Cargo,
    /// The thread that sent it.
    pub(crate) sender: Identity,
    /// What a conversation begun with it is charged to; of the server's, what it takes itself, as
    /// long as the client may have it.
    pub(crate) charge: Option<Charge>,
    /// Of the client's, if it does not wait for the answer: a message that this goes into.
    room: Spare,
    /// The idle slot that goes with it while it is a spare.
    kept: AtomicU32,
    /// Whether it carries anything: all that most messages' path looks at of it.
    loaded: bool,
    /// Whether it is room that the client has made, with the server's answer in it.
    paid: bool,
    /// Of room, how long an answer it is for, less one.
    longest: u16,
}

// The allocator's next size is half as large again.
const _: () = assert!(size_of::<AtomicUsize>() + size_of::<Message>() <= 128);

/// The least room for an answer, whatever its request asks for: what the smallest buffer has.
const ROOM_MIN: u32 = 256;

/// What each message takes beside its payload: itself, and a place in the port's table.
const OVERHEAD: u32 = 128 + 256;

/// Bytes that a message with so many of payload, and nothing else, takes at most.
pub(crate) fn footprint_of(len: u32) -> u32 {
    Buffer::footprint_of(len).saturating_add(OVERHEAD)
}

impl Message {
    /// Whether it carries nothing.
    #[inline(always)]
    pub(crate) fn is_bare(&self) -> bool {
        !self.loaded
    }

    /// Ends what it is charged to as a message of the server's, and says whether it may be kept for
    /// the next one: nobody pays for it meanwhile, so it must not be large.
    pub(crate) fn is_spared(&self) -> bool {
        if let Some(charge) = &self.charge {
            charge.end();
        }
        self.buffer.is_small() && !self.paid
    }

    /// Whether nobody is charged for it, nor has made room for it. A spare message of a server's end
    /// keeps the charge of its last use, which has ended.
    pub(crate) fn is_free(&self) -> bool {
        !self.paid && self.charge.as_ref().is_none_or(Charge::has_ended)
    }

    /// Whether it is room that a client has made, with the answer in it.
    pub(crate) fn is_paid(&self) -> bool {
        self.paid
    }

    /// Whether it is room for an answer of so many bytes, whatever memory it has.
    pub(crate) fn is_room_for(&self, len: u32) -> bool {
        len <= u32::from(self.longest).saturating_add(1)
    }

    /// Adds the room for the answer.
    pub(crate) fn add_room(&self, room: Arc<Message>) {
        drop(self.room.put(room));
    }

    /// Takes that out again.
    pub(crate) fn take_room(&self) -> Option<Arc<Message>> {
        self.room.take()
    }

    /// Bytes of memory that it takes, with a place in the port's table.
    pub(crate) fn footprint(&self) -> u32 {
        let payload = self.buffer.footprint().saturating_add(OVERHEAD);
        payload.saturating_add(self.cargo_footprint())
    }

    /// The same of what it carries beside the payload.
    pub(crate) fn cargo_footprint(&self) -> u32 {
        match self.is_bare() {
            true => 0,
            false => self.cargo.footprint(),
        }
    }

    /// What its sender has to see to once it is sent.
    #[inline(always)]
    pub(crate) fn parting(&self) -> Option<Parting> {
        match self.is_bare() {
            true => None,
            false => self.cargo.parting(),
        }
    }
}

impl Body for Arc<Message> {
    fn len(&self) -> u32 {
        self.buffer.len()
    }

    fn is_paid(&self) -> bool {
        self.paid
    }
}

/// A message that nobody else has yet, to be filled and sent.
pub(crate) struct Draft(Pin<UniqueArc<Message>>);

impl Draft {
    /// A new one without payload, from the current thread.
    pub(crate) fn new() -> Result<Self> {
        let room = charged(size_of::<Message>(), UniqueArc::<Message>::new_uninit)?;
        let message = room.write(Message {
            buffer: Buffer::new(),
            cargo: Cargo::new(),
            sender: Identity::current(),
            charge: None,
            room: Spare::new(),
            kept: AtomicU32::new(NONE),
            loaded: false,
            paid: false,
            longest: 0,
        });
        Ok(Self(Pin::from(message)))
    }

    /// Tells nobody of its sender, nor of those that use it next.
    pub(crate) fn hide_sender(&mut self) {
        self.0.sender.hide();
    }

    /// The same for this one message, if its context says so.
    pub(crate) fn apply_context(&mut self) {
        let Message { cargo, sender, .. } = &mut *self.0;
        if let Some(attached) = cargo.security_mut() {
            if attached.is_anonymous() && !sender.is_hidden() {
                attached.hides = true;
                sender.hide();
            }
        }
    }

    /// Reads the payload, and makes the current thread the sender.
    #[inline(always)]
    pub(crate) fn fill(&mut self, addr: u64, len: u32) -> Result {
        self.0.buffer.read_user(addr, len)?;
        self.0.sender.recapture();
        Ok(())
    }

    /// Whether it is charged.
    pub(crate) fn is_charged(&self) -> bool {
        self.0.charge.is_some()
    }

    /// Charges it.
    pub(crate) fn charge(&mut self, charge: Charge) {
        self.0.charge = Some(charge);
    }

    /// Charges what it takes to those who pay for what the server of a connection sends.
    pub(crate) fn charge_told(&mut self, connection: &Connection) -> Result<(), Failure> {
        let message = &mut *self.0;
        // Its last use is over, and may have been another size.
        message.charge = None;
        message.buffer.shrink();
        let charge = connection.charge_told(message.footprint());
        message.charge = Some(charge.map_err(|_| Outcome::Limit)?);
        Ok(())
    }

    /// Makes it room for an answer of so many bytes.
    pub(crate) fn make_room(&mut self, len: u32) -> Result {
        let len = len.max(ROOM_MIN);
        self.0.longest = u16::try_from(len.saturating_sub(1))?;
        self.0.buffer.provide(len)
    }

    /// Charges what it carries, or is to carry, to those who pay for what the server of a connection
    /// sends: it is not in the room that this is.
    pub(crate) fn charge_cargo(
        &mut self,
        bytes: u32,
        connection: &Connection,
    ) -> Result<(), Failure> {
        if bytes != 0 {
            let charge = connection.charge_told(bytes);
            self.0.charge = Some(charge.map_err(|_| Outcome::Limit)?);
        }
        Ok(())
    }

    /// Puts what another one says and carries into this one, which is room for it.
    pub(crate) fn take_over(&mut self, from: &mut Self) -> Result {
        let (to, from) = (&mut *self.0, &mut *from.0);
        to.buffer.copy_from(&from.buffer)?;
        swap(&mut to.cargo, &mut from.cargo);
        swap(&mut to.loaded, &mut from.loaded);
        swap(&mut to.sender, &mut from.sender);
        to.paid = true;
        Ok(())
    }

    /// Makes it room again that somebody has emptied. Says whether it is to be kept.
    fn clear_room(&mut self) -> bool {
        let message = &mut *self.0;
        message.paid = false;
        message.charge = None;
        message.buffer.clear();
        message.buffer.is_kept()
    }

    /// Takes a message back that nobody else has got.
    pub(crate) fn reopen(message: Arc<Message>) -> Option<Self> {
        Arc::into_unique_or_drop(message).map(Self)
    }

    /// What it carries, to be put in.
    pub(crate) fn load(&mut self) -> &mut Cargo {
        // The pin is of no concern to it.
        self.0.loaded = true;
        &mut self.0.cargo
    }

    /// Lets go of what it carries. Says whether it can be used again.
    fn unload(&mut self) -> bool {
        self.0.loaded = false;
        if self.0.cargo.security().is_some_and(|it| it.hides) {
            self.0.sender.show();
        }
        self.0.cargo.clear()
    }

    /// Ready to be sent, in as little memory as it needs.
    pub(crate) fn small(mut self) -> Arc<Message> {
        self.0.buffer.shrink();
        self.finish()
    }

    /// Ready to be sent.
    pub(crate) fn finish(self) -> Arc<Message> {
        Arc::from(self.0)
    }
}

/// Empties a message that has been received, so that it can be used again. Gives nothing back if
/// somebody else still reads it, who drops it then, or if each send needs a new one.
#[inline(always)]
pub(crate) fn unload(message: Arc<Message>) -> Option<Arc<Message>> {
    match message.is_bare() {
        true => Some(message),
        false => unload_cargo(message),
    }
}

#[inline(never)]
fn unload_cargo(message: Arc<Message>) -> Option<Arc<Message>> {
    let mut draft = Draft::reopen(message)?;
    draft.unload().then(|| draft.finish())
}

/// Ends what a message of the server's is charged to, so that it can be used again. Gives nothing
/// back if it is charged to anything else, or if somebody else still reads it.
pub(crate) fn uncharge_told(message: Arc<Message>) -> Option<Arc<Message>> {
    if !message.charge.as_ref().is_some_and(Charge::is_told) {
        return None;
    }
    let mut draft = Draft::reopen(message)?;
    draft.0.charge = None;
    Some(draft.finish())
}

/// Notes which idle slot goes with a message that is about to become a spare.
pub(crate) fn keep_slot(message: &Arc<Message>, slot: u32) {
    message.kept.store(slot, Ordering::Relaxed);
}

/// The idle slot that goes with a message, taken from it.
pub(crate) fn take_kept(message: &Arc<Message>) -> Option<u32> {
    let kept = message.kept.swap(NONE, Ordering::Relaxed);
    (kept != NONE).then_some(kept)
}

/// Room for one message that is not in use.
///
/// # Invariants
///
/// The pointer is null, or comes from `Arc::into_raw` and owns that reference.
pub(crate) struct Spare(AtomicPtr<Message>);

impl Spare {
    /// Empty.
    pub(crate) fn new() -> Self {
        // INVARIANT: Null.
        Self(AtomicPtr::new(null_mut()))
    }

    /// Takes the message out.
    #[inline(always)]
    pub(crate) fn take(&self) -> Option<Arc<Message>> {
        // INVARIANT: Null. SYNC: pairs with the exchange in `put`.
        let message = self.0.swap(null_mut(), Ordering::Acquire);
        if message.is_null() {
            return None;
        }
        // SAFETY: By the invariants. The exchange made the reference ours alone.
        Some(unsafe { Arc::from_raw(message) })
    }

    /// Takes the message out for writing, or gives back what is still shared.
    #[inline(always)]
    pub(crate) fn draft(&self) -> Option<Result<Draft, u32>> {
        let message = self.take()?;
        let kept = message.kept.load(Ordering::Relaxed);
        Some(match Arc::into_unique_or_drop(message) {
            Some(unique) => Ok(Draft(unique)),
            None => Err(kept),
        })
    }

    /// Puts a message in, or gives it back when there is one already.
    #[inline(always)]
    pub(crate) fn put(&self, message: Arc<Message>) -> Option<Arc<Message>> {
        let raw = Arc::into_raw(message).cast_mut();
        // INVARIANT: The reference is the pointer's now. SYNC: pairs with the exchange in `take`.
        match self
            .0
            .compare_exchange(null_mut(), raw, Ordering::Release, Ordering::Relaxed)
        {
            Ok(_) => None,
            // SAFETY: It was not stored, so the reference is still ours.
            Err(_) => Some(unsafe { Arc::from_raw(raw) }),
        }
    }
}

impl Spare {
    /// Room for an answer of so many bytes: what is here, or new.
    pub(crate) fn room(&self, len: u32) -> Result<Draft> {
        let mut room = match self.draft() {
            Some(Ok(room)) => room,
            _ => Draft::new()?,
        };
        room.make_room(len)?;
        Ok(room)
    }

    /// Keeps room that is of use again, unless there is some already.
    pub(crate) fn keep_room(&self, room: Arc<Message>) {
        let Some(mut room) = unload(room).and_then(Draft::reopen) else {
            return;
        };
        if room.clear_room() {
            drop(self.put(room.finish()));
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        // Most are empty, and this is alone with it.
        if !self.0.get_mut().is_null() {
            drop(self.take());
        }
    }
}
