// SPDX-License-Identifier: GPL-2.0

//! Message attributes: containers in user memory, and what they carry.
//!
//! A container is read before anything is sent or received, and filled in
//! after the message is chosen and before the caller learns of it.
#![deny(unsafe_code)]

use crate::{
    buffer::{
        copy_range_out,
        copy_struct_in,
        copy_struct_out,
        Plain,
        Words, //
    },
    call::Scope,
    cargo::Cargo,
    comm::Connection,
    cred::{
        Origin,
        NO_SESSION, //
    },
    handle,
    logic::engine::{
        Delivery,
        Side, //
    },
    memory::Memory,
    outcome::{
        Failure,
        Outcome, //
    },
    port::Kernel,
    required::{
        self,
        Required, //
    },
    security,
    takes::rights_to_send,
    uapi,
    view,
    window::{
        Given,
        Placed, //
    }, //
};
use core::mem::size_of;
use kernel::{
    prelude::*,
    sync::Arc, //
};

const HEAD: usize = size_of::<uapi::alpc_attributes>();

/// The attributes of which a structure is known, in the order in which they follow the head.
const ORDER: [(u32, usize); 7] = [
    (
        uapi::ALPC_ATTR_SECURITY,
        size_of::<uapi::alpc_attr_security>(),
    ),
    (uapi::ALPC_ATTR_VIEW, size_of::<uapi::alpc_attr_view>()),
    (
        uapi::ALPC_ATTR_CONTEXT,
        size_of::<uapi::alpc_attr_context>(),
    ),
    (uapi::ALPC_ATTR_HANDLE, size_of::<uapi::alpc_attr_handle>()),
    (uapi::ALPC_ATTR_TOKEN, size_of::<uapi::alpc_attr_token>()),
    (uapi::ALPC_ATTR_MEMORY, size_of::<uapi::alpc_attr_memory>()),
    (
        uapi::ALPC_ATTR_RECEIVER,
        size_of::<uapi::alpc_attr_receiver>(),
    ),
];

/// Those that have a number and nothing else.
const RESERVED: u32 = uapi::ALPC_ATTR_DIRECT | uapi::ALPC_ATTR_WORK_ON_BEHALF;

const KNOWN: u32 = {
    let [(a, _), (b, _), (c, _), (d, _), (e, _), (f, _), (g, _)] = ORDER;
    a | b | c | d | e | f | g
};

/// Words of all these together.
const WORDS: usize = {
    let [(_, a), (_, b), (_, c), (_, d), (_, e), (_, f), (_, g)] = ORDER;
    (a + b + c + d + e + f + g) / size_of::<u64>()
};

/// A container in user memory, and what has been read of it: each byte once.
struct Container {
    addr: u64,
    head: uapi::alpc_attributes,
    words: Words<WORDS>,
}

impl Container {
    #[inline(always)]
    const fn none() -> Self {
        Self {
            addr: 0,
            head: uapi::alpc_attributes {
                allocated: 0,
                valid: 0,
            },
            words: Words::new(),
        }
    }

    /// Reads the head, and all that is behind it if `is_read` says so. In place: it is large.
    #[inline]
    fn read(&mut self, addr: u64, is_read: impl FnOnce(uapi::alpc_attributes) -> bool) -> Result {
        let head: uapi::alpc_attributes = copy_struct_in(HEAD, addr, HEAD)?;
        if head.allocated & !(KNOWN | RESERVED) != 0 {
            return Err(EINVAL);
        }
        // Only the layout of what is implemented is known.
        if head.allocated & RESERVED != 0 {
            return Err(EOPNOTSUPP);
        }
        (self.addr, self.head) = (addr, head);
        if is_read(head) {
            let size = self.offset(0).wrapping_sub(HEAD);
            let at = addr.checked_add(HEAD as u64).ok_or(EFAULT)?;
            self.words.read(at, size)?;
        }
        Ok(())
    }

    /// Where the structure of an attribute begins, if there is one; for 0 where the last one ends.
    #[inline]
    fn offset(&self, attribute: u32) -> usize {
        let mut offset = HEAD;
        for (other, size) in ORDER {
            if other > attribute && self.head.allocated & other != 0 {
                offset = offset.wrapping_add(size);
            }
        }
        offset
    }

    /// The address of the structure of an attribute, if it is allocated.
    #[inline]
    fn place(&self, attribute: u32) -> Result<Option<u64>> {
        if self.head.allocated & attribute == 0 {
            return Ok(None);
        }
        let offset = self.offset(attribute) as u64;
        self.addr.checked_add(offset).map(Some).ok_or(EFAULT)
    }

    /// The structure of an attribute as it was read, if that is one of `which`.
    #[inline]
    fn get<T: Plain>(&self, attribute: u32, which: u32) -> Option<T> {
        if which & attribute == 0 {
            return None;
        }
        let at = self.offset(attribute).wrapping_sub(HEAD) / size_of::<u64>();
        self.words.get(at)
    }
}

/// The attributes of a call: what goes out, and what is to come in.
pub(crate) struct Attributes {
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
}

/// Those of most calls.
pub(crate) static NONE: Attributes = Attributes::new();

impl Attributes {
    /// None, to be read.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self {
            outgoing: Outgoing::none(),
            incoming: Incoming::none(),
        }
    }

    /// Reads both containers.
    #[inline]
    pub(crate) fn read(&mut self, t: &uapi::alpc_transfer) -> Result {
        self.outgoing.read(t.send_attributes)?;
        self.incoming.read(t.recv_attributes)
    }

    /// Whether a call has none.
    #[inline(always)]
    pub(crate) fn are_none(t: &uapi::alpc_transfer) -> bool {
        t.send_attributes | t.recv_attributes == 0
    }
}

/// What a sender attaches to a message: what is valid of its container.
pub(crate) struct Outgoing(Container);

impl Outgoing {
    #[inline(always)]
    const fn none() -> Self {
        Self(Container::none())
    }

    /// Reads the container at `addr`, if that is not 0.
    #[inline]
    fn read(&mut self, addr: u64) -> Result {
        if addr == 0 {
            return Ok(());
        }
        self.0.read(addr, |head| head.valid != 0)?;
        let head = self.0.head;
        if head.valid & !head.allocated != 0
            || head.valid & uapi::ALPC_ATTR_TOKEN != 0
            || self
                .receiver()
                .is_some_and(|receiver| !required::is_valid(&receiver))
            || self.security().is_some_and(|it| !security::is_valid(&it))
            || self.context().is_some_and(|context| context.reserved != 0)
            || self.view().is_some_and(|view| !view::is_valid(&view))
            || self.memory().is_some_and(|memory| memory.reserved != 0)
            || self
                .handle()
                .is_some_and(|handle| !handle::is_valid(&handle))
        {
            return Err(EINVAL);
        }
        Ok(())
    }

    #[inline]
    fn valid<T: Plain>(&self, attribute: u32) -> Option<T> {
        self.0.get(attribute, self.0.head.valid)
    }

    fn security(&self) -> Option<uapi::alpc_attr_security> {
        self.valid(uapi::ALPC_ATTR_SECURITY)
    }

    fn context(&self) -> Option<uapi::alpc_attr_context> {
        self.valid(uapi::ALPC_ATTR_CONTEXT)
    }

    fn view(&self) -> Option<uapi::alpc_attr_view> {
        self.valid(uapi::ALPC_ATTR_VIEW)
    }

    fn handle(&self) -> Option<uapi::alpc_attr_handle> {
        self.valid(uapi::ALPC_ATTR_HANDLE)
    }

    fn memory(&self) -> Option<uapi::alpc_attr_memory> {
        self.valid(uapi::ALPC_ATTR_MEMORY)
    }

    fn receiver(&self) -> Option<uapi::alpc_attr_receiver> {
        self.valid(uapi::ALPC_ATTR_RECEIVER)
    }

    /// The sender's own value for the conversation.
    pub(crate) fn message_context(&self) -> Option<u64> {
        self.context().map(|context| context.message_context)
    }

    /// Whether there is more than a context value.
    #[inline]
    pub(crate) fn has_cargo(&self) -> bool {
        self.0.head.valid & !uapi::ALPC_ATTR_CONTEXT != 0
    }

    /// Whether there is what only the general way can do: a context value is the engine's, and
    /// caller memory, which only a new synchronous request may carry, is the wait's. Who a message
    /// is for is said of new requests only.
    #[inline]
    pub(crate) fn is_special(&self) -> bool {
        const SPECIAL: u32 =
            uapi::ALPC_ATTR_CONTEXT | uapi::ALPC_ATTR_MEMORY | uapi::ALPC_ATTR_RECEIVER;
        self.0.head.valid & SPECIAL != 0
    }

    /// Whether it says who it is for.
    pub(crate) fn has_receiver(&self) -> bool {
        self.0.head.valid & uapi::ALPC_ATTR_RECEIVER != 0
    }

    /// Whether there is caller memory.
    pub(crate) fn has_memory(&self) -> bool {
        self.0.head.valid & uapi::ALPC_ATTR_MEMORY != 0
    }

    /// What the other side must take.
    fn needs(&self) -> u32 {
        let mut needs = 0;
        if self.view().is_some_and(|view| view.base != 0) {
            needs |= uapi::ALPC_TAKE_VIEWS;
        }
        if self.0.head.valid & uapi::ALPC_ATTR_SECURITY != 0 {
            needs |= uapi::ALPC_TAKE_SECURITY;
        }
        if self.0.head.valid & uapi::ALPC_ATTR_HANDLE != 0 {
            needs |= uapi::ALPC_TAKE_HANDLES;
        }
        if self.has_memory() {
            needs |= uapi::ALPC_TAKE_MEMORY;
        }
        needs
    }

    /// Puts it into a message that nobody else has yet, in a fixed order: what can only fail
    /// first, what others may notice last.
    pub(crate) fn load(
        &self,
        cargo: &mut Cargo,
        connection: &Arc<Connection>,
        to: Side,
    ) -> Result<(), Failure> {
        let (takes, needs) = (connection.takes(to), self.needs());
        if !takes.has(needs) {
            return Err(Outcome::NotTaken.into());
        }
        if to == Side::Server && !connection.granted(rights_to_send(needs)) {
            return Err(Outcome::AccessDenied.into());
        }
        if let Some(handle) = &self.handle() {
            let at = self.0.place(uapi::ALPC_ATTR_HANDLE)?.ok_or(EFAULT)?;
            let charge = connection
                .charge_handles(to.other(), handle.count)
                .map_err(|_| Outcome::Limit)?;
            let owner = connection.owner(to.other());
            cargo.handles.capture(at, handle, takes, owner, charge)?;
        }
        if let Some(receiver) = &self.receiver() {
            // Else whoever asks for one after another would find out who it is.
            if connection.security(to).is_anonymous() {
                return Err(Outcome::ReceiverMismatch.into());
            }
            cargo.require(Required::new(receiver)?)?;
        }
        if let Some(memory) = &self.memory() {
            cargo.add_memory(Memory::capture(memory, connection.owner(to.other()))?)?;
        }
        if let Some(asked) = &self.security() {
            let at = self.0.place(uapi::ALPC_ATTR_SECURITY)?.ok_or(EFAULT)?;
            cargo.add_security(|| security::attach(asked, at, connection, to.other()))?;
        }
        if let Some(view) = &self.view() {
            if view.release != 0 {
                let lent = connection.lent_counter(to.other());
                cargo.add_given(|| Given::take(view.release, lent))?;
            }
            if view.base != 0 {
                cargo.view = Some(view::lend(view, connection, to)?);
            }
        }
        Ok(())
    }
}

/// What a receiver has room for: what is allocated of its container.
pub(crate) struct Incoming(Container);

/// A message's cargo that the receiver has, as soon as it has the message.
pub(crate) struct Taken {
    placed: Option<Placed>,
}

impl Incoming {
    #[inline(always)]
    const fn none() -> Self {
        Self(Container::none())
    }

    /// Reads the container at `addr`, if that is not 0.
    #[inline]
    fn read(&mut self, addr: u64) -> Result {
        const ASKS: u32 = uapi::ALPC_ATTR_HANDLE | uapi::ALPC_ATTR_MEMORY;
        if addr == 0 {
            return Ok(());
        }
        self.0.read(addr, |head| head.allocated & ASKS != 0)?;
        if !handle::is_valid_room(&self.handle()) || self.memory().reserved != 0 {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn handle(&self) -> uapi::alpc_attr_handle {
        let allocated = self.0.head.allocated;
        let handle = self.0.get(uapi::ALPC_ATTR_HANDLE, allocated);
        handle.unwrap_or_default()
    }

    fn memory(&self) -> uapi::alpc_attr_memory {
        let allocated = self.0.head.allocated;
        let memory = self.0.get(uapi::ALPC_ATTR_MEMORY, allocated);
        memory.unwrap_or_default()
    }

    /// Fills the container in, and brings what it tells of into the caller's reach. All of that
    /// is undone unless [`Taken::keep`] is called.
    #[inline]
    pub(crate) fn write(
        &self,
        scope: Scope<'_>,
        delivery: &Delivery<Kernel>,
    ) -> Result<Taken, Failure> {
        match self.0.addr {
            0 => Ok(Taken { placed: None }),
            _ => self.write_container(scope, delivery),
        }
    }

    #[inline(never)]
    fn write_container(
        &self,
        scope: Scope<'_>,
        delivery: &Delivery<Kernel>,
    ) -> Result<Taken, Failure> {
        let container = &self.0;
        let mut head = uapi::alpc_attributes::default();
        let mut taken = Taken { placed: None };
        if let Some(at) = container.place(uapi::ALPC_ATTR_CONTEXT)? {
            let context = uapi::alpc_attr_context {
                port_context: delivery.port_context,
                message_context: delivery.message_context,
                id: delivery.id,
                sequence: delivery.sequence,
                callback_id: delivery.turn,
                reserved: 0,
            };
            copy_struct_out(size_of::<uapi::alpc_attr_context>(), at, &context)?;
            head.valid |= uapi::ALPC_ATTR_CONTEXT;
        }
        let told = delivery
            .body
            .as_ref()
            .filter(|body| !body.sender.is_hidden());
        if let (Some(at), Some(body)) = (container.place(uapi::ALPC_ATTR_TOKEN)?, told) {
            if let Some(connection) = scope.connection(delivery.conn) {
                let token = connection.tokens.token(&body.sender)?;
                let token = uapi::alpc_attr_token {
                    token_id: token.process,
                    session_id: body.cargo.origin().map_or(NO_SESSION, Origin::session),
                    modified_id: token.credentials,
                };
                copy_struct_out(size_of::<uapi::alpc_attr_token>(), at, &token)?;
                head.valid |= uapi::ALPC_ATTR_TOKEN;
            }
        }
        let body = delivery.body.as_ref().filter(|body| !body.is_bare());
        if let Some(cargo) = body.map(|body| &body.cargo) {
            if let Some(at) = container.place(uapi::ALPC_ATTR_SECURITY)? {
                if let Some(attached) = cargo.security() {
                    attached.show(at)?;
                    head.valid |= uapi::ALPC_ATTR_SECURITY;
                }
            }
            if let Some(at) = container.place(uapi::ALPC_ATTR_MEMORY)? {
                if let Some(memory) = cargo.memory() {
                    memory.show(at, &self.memory())?;
                    head.valid |= uapi::ALPC_ATTR_MEMORY;
                }
            }
            if let Some(at) = container.place(uapi::ALPC_ATTR_HANDLE)? {
                if cargo.handles.len() != 0 {
                    cargo.handles.show(at, &self.handle())?;
                    head.valid |= uapi::ALPC_ATTR_HANDLE;
                }
            }
            if let Some(at) = container.place(uapi::ALPC_ATTR_VIEW)? {
                if let Some(loan) = &cargo.view {
                    let (placed, view) = scope.place(loan)?;
                    taken.placed = Some(placed);
                    copy_struct_out(size_of::<uapi::alpc_attr_view>(), at, &view)?;
                    head.valid |= uapi::ALPC_ATTR_VIEW;
                }
            }
        }
        let valid = core::mem::offset_of!(uapi::alpc_attributes, valid);
        copy_range_out(HEAD, container.addr, &head, valid..HEAD)?;
        Ok(taken)
    }

    /// Claims what the caller wants claimed at once. It has the message.
    #[inline]
    pub(crate) fn claim(&self, cargo: &Cargo) {
        let handle = self.handle();
        if handle.flags & uapi::ALPC_HANDLES_CLAIM != 0 && cargo.handles.len() != 0 {
            if let Ok(Some(at)) = self.0.place(uapi::ALPC_ATTR_HANDLE) {
                cargo.handles.claim_at_receive(at, &handle);
            }
        }
    }
}

impl Taken {
    /// The caller has the message. A view that it did not ask for goes back.
    #[inline]
    pub(crate) fn keep(self, cargo: &Cargo) {
        match self.placed {
            Some(placed) => placed.keep(),
            None => {
                if let Some(loan) = &cargo.view {
                    loan.end();
                }
            }
        }
    }
}
