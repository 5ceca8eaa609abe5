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
        Plain, //
    },
    call::Scope,
    cargo::Cargo,
    comm::Connection,
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
    uapi,
    view::{
        self,
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
const ORDER: [(u32, usize); 4] = [
    (uapi::ALPC_ATTR_VIEW, size_of::<uapi::alpc_attr_view>()),
    (
        uapi::ALPC_ATTR_CONTEXT,
        size_of::<uapi::alpc_attr_context>(),
    ),
    (uapi::ALPC_ATTR_HANDLE, size_of::<uapi::alpc_attr_handle>()),
    (uapi::ALPC_ATTR_MEMORY, size_of::<uapi::alpc_attr_memory>()),
];

/// Those that have a number and nothing else.
const RESERVED: u32 = uapi::ALPC_ATTR_SECURITY
    | uapi::ALPC_ATTR_TOKEN
    | uapi::ALPC_ATTR_DIRECT
    | uapi::ALPC_ATTR_WORK_ON_BEHALF;

const KNOWN: u32 = {
    let [(a, _), (b, _), (c, _), (d, _)] = ORDER;
    a | b | c | d
};

/// A container in user memory, of which the head has been read.
#[derive(Clone, Copy)]
struct Container {
    addr: u64,
    head: uapi::alpc_attributes,
}

impl Container {
    #[inline]
    fn read(addr: u64) -> Result<Self> {
        let head: uapi::alpc_attributes = copy_struct_in(HEAD, addr, HEAD)?;
        if head.allocated & !(KNOWN | RESERVED) != 0 {
            return Err(EINVAL);
        }
        // Only the layout of what is implemented is known.
        if head.allocated & RESERVED != 0 {
            return Err(EOPNOTSUPP);
        }
        Ok(Self { addr, head })
    }

    /// Where the structure of an attribute stands, if it is one of `which`.
    #[inline]
    fn place(&self, attribute: u32, which: u32) -> Result<Option<u64>> {
        if which & attribute == 0 {
            return Ok(None);
        }
        let mut offset = HEAD as u64;
        for (other, size) in ORDER {
            if other > attribute && self.head.allocated & other != 0 {
                offset = offset.wrapping_add(size as u64);
            }
        }
        self.addr.checked_add(offset).map(Some).ok_or(EFAULT)
    }

    /// The structure of an attribute, if it is one of `which`.
    #[inline]
    fn get<T: Plain>(&self, attribute: u32, which: u32) -> Result<Option<T>> {
        match self.place(attribute, which)? {
            Some(addr) => copy_struct_in(size_of::<T>(), addr, size_of::<T>()).map(Some),
            None => Ok(None),
        }
    }
}

/// The attributes of a call: what goes out, and what is to come in.
pub(crate) struct Attributes {
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
}

/// Those of most calls.
pub(crate) static NONE: Attributes = Attributes {
    outgoing: Outgoing::none(),
    incoming: Incoming::none(),
};

impl Attributes {
    /// Reads both containers.
    pub(crate) fn read(t: &uapi::alpc_transfer) -> Result<Self> {
        Ok(Self {
            outgoing: Outgoing::read(t.send_attributes)?,
            incoming: Incoming::read(t.recv_attributes)?,
        })
    }

    /// Whether a call has none.
    #[inline(always)]
    pub(crate) fn are_none(t: &uapi::alpc_transfer) -> bool {
        t.send_attributes | t.recv_attributes == 0
    }
}

/// What a sender attaches to a message.
pub(crate) struct Outgoing {
    /// The sender's own value for the conversation.
    pub(crate) message_context: Option<u64>,
    view: Option<uapi::alpc_attr_view>,
    /// With the address at which it was read.
    handle: Option<(u64, uapi::alpc_attr_handle)>,
    memory: Option<uapi::alpc_attr_memory>,
}

impl Outgoing {
    const fn none() -> Self {
        Self {
            message_context: None,
            view: None,
            handle: None,
            memory: None,
        }
    }

    /// Reads the container at `addr`, if that is not 0.
    fn read(addr: u64) -> Result<Self> {
        if addr == 0 {
            return Ok(Self::none());
        }
        let container = Container::read(addr)?;
        let valid = container.head.valid;
        if valid & !container.head.allocated != 0 {
            return Err(EINVAL);
        }
        let context: Option<uapi::alpc_attr_context> =
            container.get(uapi::ALPC_ATTR_CONTEXT, valid)?;
        let view: Option<uapi::alpc_attr_view> = container.get(uapi::ALPC_ATTR_VIEW, valid)?;
        let memory: Option<uapi::alpc_attr_memory> =
            container.get(uapi::ALPC_ATTR_MEMORY, valid)?;
        let handle = match container.place(uapi::ALPC_ATTR_HANDLE, valid)? {
            Some(at) => {
                const SIZE: usize = size_of::<uapi::alpc_attr_handle>();
                let handle: uapi::alpc_attr_handle = copy_struct_in(SIZE, at, SIZE)?;
                Some((at, handle))
            }
            None => None,
        };
        if context.is_some_and(|context| context.reserved != 0)
            || view.is_some_and(|view| !view::is_valid(&view))
            || memory.is_some_and(|memory| memory.reserved != 0)
            || handle.is_some_and(|(_, handle)| !handle::is_valid(&handle))
        {
            return Err(EINVAL);
        }
        Ok(Self {
            message_context: context.map(|context| context.message_context),
            view,
            handle,
            memory,
        })
    }

    /// Whether there is more than a context value.
    #[inline]
    pub(crate) fn has_cargo(&self) -> bool {
        self.view.is_some() || self.handle.is_some() || self.memory.is_some()
    }

    /// Whether there is caller memory, which only a new synchronous request may carry.
    pub(crate) fn has_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// What the other side must take.
    fn needs(&self) -> u32 {
        let mut needs = 0;
        if self.view.is_some_and(|view| view.base != 0) {
            needs |= uapi::ALPC_TAKE_VIEWS;
        }
        if self.handle.is_some() {
            needs |= uapi::ALPC_TAKE_HANDLES;
        }
        if self.memory.is_some() {
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
        let takes = connection.takes(to);
        if !takes.has(self.needs()) {
            return Err(Outcome::NotTaken.into());
        }
        cargo.load();
        if let Some((at, handle)) = &self.handle {
            let charge = connection
                .charge_handles(to.other(), handle.count)
                .map_err(|_| Outcome::Limit)?;
            cargo.handles.capture(*at, handle, takes, charge)?;
        }
        if let Some(memory) = &self.memory {
            cargo.memory = Some(Memory::capture(memory)?);
        }
        if let Some(view) = &self.view {
            cargo.view = view::send(view, connection, to)?;
        }
        Ok(())
    }
}

/// What a receiver has room for.
pub(crate) struct Incoming {
    container: Container,
    handle: uapi::alpc_attr_handle,
    memory: uapi::alpc_attr_memory,
}

/// A message's cargo that the receiver has, as soon as it has the message.
pub(crate) struct Taken {
    placed: Option<Placed>,
}

impl Incoming {
    const fn none() -> Self {
        Self {
            container: Container {
                addr: 0,
                head: uapi::alpc_attributes {
                    allocated: 0,
                    valid: 0,
                },
            },
            handle: uapi::alpc_attr_handle {
                handles: 0,
                count: 0,
                flags: 0,
                index: 0,
                error: 0,
            },
            memory: uapi::alpc_attr_memory {
                ranges: 0,
                count: 0,
                reserved: 0,
            },
        }
    }

    /// Reads the container at `addr`, if that is not 0.
    fn read(addr: u64) -> Result<Self> {
        if addr == 0 {
            return Ok(Self::none());
        }
        let container = Container::read(addr)?;
        let allocated = container.head.allocated;
        let handle: uapi::alpc_attr_handle = container
            .get(uapi::ALPC_ATTR_HANDLE, allocated)?
            .unwrap_or_default();
        let memory: uapi::alpc_attr_memory = container
            .get(uapi::ALPC_ATTR_MEMORY, allocated)?
            .unwrap_or_default();
        if !handle::is_valid_room(&handle) || memory.reserved != 0 {
            return Err(EINVAL);
        }
        Ok(Self {
            container,
            handle,
            memory,
        })
    }

    /// Fills the container in, and brings what it tells of into the caller's reach. All of that
    /// is undone unless [`Taken::keep`] is called.
    #[inline]
    pub(crate) fn write(
        &self,
        scope: Scope<'_>,
        delivery: &Delivery<Kernel>,
    ) -> Result<Taken, Failure> {
        match self.container.addr {
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
        let container = &self.container;
        let allocated = container.head.allocated;
        let mut head = uapi::alpc_attributes::default();
        let mut taken = Taken { placed: None };
        if let Some(at) = container.place(uapi::ALPC_ATTR_CONTEXT, allocated)? {
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
        let cargo = delivery.body.as_ref().map(|body| &body.cargo);
        if let Some(cargo) = cargo.filter(|cargo| !cargo.is_empty()) {
            if let Some(at) = container.place(uapi::ALPC_ATTR_MEMORY, allocated)? {
                if let Some(memory) = &cargo.memory {
                    memory.show(at, &self.memory)?;
                    head.valid |= uapi::ALPC_ATTR_MEMORY;
                }
            }
            if let Some(at) = container.place(uapi::ALPC_ATTR_HANDLE, allocated)? {
                if cargo.handles.len() != 0 {
                    cargo.handles.show(at, &self.handle)?;
                    head.valid |= uapi::ALPC_ATTR_HANDLE;
                }
            }
            if let Some(at) = container.place(uapi::ALPC_ATTR_VIEW, allocated)? {
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
        if self.handle.flags & uapi::ALPC_HANDLES_CLAIM != 0 && !cargo.is_empty() {
            if let Ok(Some(at)) = self
                .container
                .place(uapi::ALPC_ATTR_HANDLE, self.container.head.allocated)
            {
                cargo.handles.claim_at_receive(at, &self.handle);
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
            None if cargo.is_empty() => {}
            None => {
                if let Some(loan) = &cargo.view {
                    loan.end();
                }
            }
        }
    }
}
