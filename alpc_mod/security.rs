// SPDX-License-Identifier: GPL-2.0

//! How far a receiver may go with a sender's identity, and the contexts that say so for single
//! messages.
//!
//! A connection has a level for what its client sends. A *context* is one of a side's own making,
//! which goes before that for the messages it is attached to. Its sides have their contexts in a
//! table each; a message keeps the context itself, so what becomes of the table changes nothing
//! for it. To revoke a context does: that is looked at at each use.
#![deny(unsafe_code)]

use crate::{
    audit::Recorded,
    buffer::{
        copy_range_out,
        copy_struct_in,
        copy_struct_out, //
    },
    comm::{
        CommPort,
        Connection, //
    },
    cred::Identity,
    ioctl,
    lazy::Lazy,
    logic::engine::Side,
    message::Message,
    outcome::{
        Failure,
        Outcome, //
    },
    shared::{
        shared,
        shared_pinned,
        vec_of, //
    },
    uapi, //
};
use core::{
    mem::{
        offset_of,
        size_of,
        swap,
        take, //
    },
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
};
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    }, //
};

/// A level and its flags, as `ALPC_SECURITY_*`.
#[derive(Clone, Copy)]
pub(crate) struct Security(u32);

impl Security {
    /// Who sends may be told, and no more.
    pub(crate) const IDENTIFY: Self = Self(uapi::ALPC_SECURITY_IDENTIFY);

    /// What a field of an argument says.
    pub(crate) fn new(raw: u32) -> Result<Self> {
        const FLAGS: u32 = uapi::ALPC_SECURITY_LEVEL_MASK
            | uapi::ALPC_SECURITY_DYNAMIC
            | uapi::ALPC_SECURITY_EFFECTIVE_ONLY;
        if raw & !FLAGS != 0 {
            return Err(EINVAL);
        }
        Ok(match raw & uapi::ALPC_SECURITY_LEVEL_MASK {
            uapi::ALPC_SECURITY_DEFAULT => Self(raw | uapi::ALPC_SECURITY_IDENTIFY),
            _ => Self(raw),
        })
    }

    fn level(self) -> u32 {
        self.0 & uapi::ALPC_SECURITY_LEVEL_MASK
    }

    /// Whether nobody is told who sends.
    pub(crate) fn is_anonymous(self) -> bool {
        self.level() == uapi::ALPC_SECURITY_ANONYMOUS
    }

    fn is_dynamic(self) -> bool {
        self.0 & uapi::ALPC_SECURITY_DYNAMIC != 0
    }
}

/// A security context.
pub(crate) struct Context {
    security: Security,
    /// Who made it, unless it stands for whoever sends.
    maker: Option<Identity>,
    /// Set once. Nothing else goes with it, so it needs no order.
    revoked: AtomicBool,
    /// The user of the last audit record of an impersonation by this context.
    recorded: Recorded,
}

impl Context {
    /// One of the current task.
    fn new(security: Security) -> Result<Arc<Self>> {
        let context = Self {
            security,
            maker: (!security.is_dynamic()).then(Identity::current),
            revoked: AtomicBool::new(false),
            recorded: Recorded::new(),
        };
        shared(context)
    }

    fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed)
    }
}

/// Whom a message lets its receiver impersonate.
pub(crate) struct Subject<'a> {
    pub(crate) who: &'a Identity,
    pub(crate) effective_only: bool,
    /// The user of the last audit record, of the context or the connection that this comes from.
    pub(crate) recorded: &'a Recorded,
}

impl<'a> Subject<'a> {
    /// Of a message that `from` has sent: by its context if it has one, else by its connection.
    pub(crate) fn of(
        message: &'a Message,
        connection: &'a Connection,
        from: Side,
    ) -> Result<Self, Failure> {
        let (security, fixed, recorded) = match message.cargo.security() {
            Some(attached) if attached.context.is_revoked() => return Err(Outcome::Revoked.into()),
            Some(Attached { context, .. }) => {
                (context.security, context.maker.as_ref(), &context.recorded)
            }
            // A server's messages have no such level without a context.
            None => (
                connection.security(from),
                Some(&connection.client.who),
                &connection.recorded,
            ),
        };
        if security.level() != uapi::ALPC_SECURITY_IMPERSONATE {
            return Err(Outcome::NotGranted.into());
        }
        let who = match (security.is_dynamic(), fixed) {
            (false, Some(who)) => who,
            _ => &message.sender,
        };
        Ok(Self {
            who,
            recorded,
            effective_only: security.0 & uapi::ALPC_SECURITY_EFFECTIVE_ONLY != 0,
        })
    }
}

/// A context in the table of its side.
struct Entry {
    id: u64,
    context: Arc<Context>,
    /// A message is being sent that deletes it.
    leaving: bool,
}

struct Table {
    /// The number given last: none is given twice.
    last: u64,
    entries: KVec<Entry>,
}

impl Table {
    fn place(&self, id: u64) -> Result<usize, Failure> {
        let found = |entry: &Entry| entry.id == id && !entry.leaving;
        let place = self.entries.iter().position(found);
        place.ok_or_else(|| Outcome::NotAContext.into())
    }

    /// Adds one, and gives its number. Nothing if there must be more room: it takes that of `room`
    /// if that is more than there is.
    fn add(
        &mut self,
        context: &Arc<Context>,
        room: &mut KVec<Entry>,
    ) -> Result<Option<u64>, Failure> {
        if self.entries.len() == self.entries.capacity() {
            if room.capacity() <= self.entries.len() {
                return Ok(None);
            }
            swap(&mut self.entries, room);
            for entry in room.drain_all() {
                // There is room, so nothing is allocated and nothing fails.
                let _ = self.entries.push_within_capacity(entry);
            }
        }
        let id = self.last.checked_add(1).ok_or(Outcome::Limit)?;
        let entry = Entry {
            id,
            context: context.clone(),
            leaving: false,
        };
        let _ = self.entries.push_within_capacity(entry);
        self.last = id;
        Ok(Some(id))
    }
}

/// The contexts of one side of a connection.
#[pin_data]
pub(crate) struct Contexts {
    #[pin]
    table: SpinLock<Table>,
}

/// The contexts of a side that may have none.
pub(crate) type LazyContexts = Lazy<Arc<Contexts>>;

impl Contexts {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let table = Table {
            last: 0,
            entries: KVec::new(),
        };
        shared_pinned(pin_init!(Self { table <- new_spinlock!(table, "Contexts::table") }))
    }

    /// Adds one, and gives its number.
    fn add(&self, context: Arc<Context>) -> Result<u64, Failure> {
        // What is made here and not needed is dropped when the lock is released.
        let mut room = KVec::new();
        loop {
            let mut table = self.table.lock();
            if table.entries.len() >= uapi::ALPC_CONTEXTS_MAX as usize {
                return Err(Outcome::Limit.into());
            }
            if let Some(id) = table.add(&context, &mut room)? {
                return Ok(id);
            }
            let len = table.entries.len();
            drop(table);
            room = vec_of(len.saturating_mul(2).max(4))?;
        }
    }

    /// The context of a number. Nobody finds it again if it is `leaving`.
    fn find(&self, id: u64, leaving: bool) -> Result<Arc<Context>, Failure> {
        let mut table = self.table.lock();
        let place = table.place(id)?;
        let entry = table.entries.get_mut(place).ok_or(Outcome::NotAContext)?;
        if !leaving {
            return Ok(entry.context.clone());
        }
        entry.leaving = true;
        Ok(entry.context.clone())
    }

    /// It doesn't leave.
    fn stay(&self, id: u64) {
        let mut table = self.table.lock();
        if let Some(entry) = table.entries.iter_mut().find(|entry| entry.id == id) {
            entry.leaving = false;
        }
    }

    /// Takes a context out that is `leaving` or not.
    fn take(&self, id: u64, leaving: bool) -> Result<Arc<Context>, Failure> {
        let mut table = self.table.lock();
        let found = |entry: &Entry| entry.id == id && entry.leaving == leaving;
        let place = table.entries.iter().position(found);
        let removed = table.entries.remove(place.ok_or(Outcome::NotAContext)?);
        drop(table);
        removed
            .map(|entry| entry.context)
            .map_err(|_| Outcome::NotAContext.into())
    }

    /// Lets go of all: their side is closed.
    pub(crate) fn clear(&self) {
        let entries = take(&mut self.table.lock().entries);
        drop(entries);
    }
}

/// What becomes of the table with the message.
#[derive(PartialEq, Eq)]
enum Then {
    Nothing,
    /// The context was made for it: it goes if the message is not sent.
    Made,
    /// It goes if the message is sent.
    Deleted,
}

/// A context that a message has.
pub(crate) struct Attached {
    /// 0 if it is in no table.
    id: u64,
    context: Arc<Context>,
    contexts: Arc<Contexts>,
    then: Then,
    recalled: AtomicBool,
    /// The message's sender has been hidden for it.
    pub(crate) hides: bool,
}

/// Whether a SECURITY attribute says something that can be done.
pub(crate) fn is_valid(attribute: &uapi::alpc_attr_security) -> bool {
    match attribute.flags {
        uapi::ALPC_SECURITY_CREATE | uapi::ALPC_SECURITY_ONCE => {
            attribute.context == 0 && Security::new(attribute.security).is_ok()
        }
        0 | uapi::ALPC_SECURITY_DELETE => attribute.context != 0 && attribute.security == 0,
        _ => false,
    }
}

/// Attaches a context of `from`'s to a message of its: the attribute is at the user's address `at`.
pub(crate) fn attach(
    attribute: &uapi::alpc_attr_security,
    at: u64,
    connection: &Connection,
    from: Side,
) -> Result<Attached, Failure> {
    let contexts = connection.contexts(from)?;
    let mut attached = match attribute.flags {
        0 | uapi::ALPC_SECURITY_DELETE => {
            let leaves = attribute.flags != 0;
            let context = contexts.find(attribute.context, leaves)?;
            Attached::new(
                attribute.context,
                context,
                contexts,
                match leaves {
                    true => Then::Deleted,
                    false => Then::Nothing,
                },
            )
        }
        _ => {
            let context = make(attribute.security, connection, from)?;
            Attached::new(0, context, contexts, Then::Nothing)
        }
    };
    if attached.context.is_revoked() {
        attached.recall();
        return Err(Outcome::Revoked.into());
    }
    if attribute.flags == uapi::ALPC_SECURITY_CREATE {
        attached.id = attached.contexts.add(attached.context.clone())?;
        attached.then = Then::Made;
        let told = uapi::alpc_attr_security {
            context: attached.id,
            ..*attribute
        };
        const SIZE: usize = size_of::<uapi::alpc_attr_security>();
        let context = 0..size_of::<u64>();
        copy_range_out(SIZE, at, &told, context).inspect_err(|_| attached.recall())?;
    }
    Ok(attached)
}

/// A new context of the current task. Where nothing is told of a client, no context tells more.
fn make(raw: u32, connection: &Connection, side: Side) -> Result<Arc<Context>, Failure> {
    let security = Security::new(raw)?;
    if connection.security(side).is_anonymous() && !security.is_anonymous() {
        return Err(EINVAL.into());
    }
    Ok(Context::new(security)?)
}

impl Attached {
    fn new(id: u64, context: Arc<Context>, contexts: Arc<Contexts>, then: Then) -> Self {
        Self {
            id,
            context,
            contexts,
            then,
            recalled: AtomicBool::new(false),
            hides: false,
        }
    }

    /// Whether nobody is told who sends the message.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.context.security.is_anonymous()
    }

    /// The message has not been sent: the table is as before.
    pub(crate) fn recall(&self) {
        if self.recalled.swap(true, Ordering::Relaxed) {
            return;
        }
        match self.then {
            Then::Nothing => {}
            // Somebody may have deleted it already.
            Then::Made => drop(self.contexts.take(self.id, false)),
            Then::Deleted => self.contexts.stay(self.id),
        }
    }

    /// Tells the receiver of it, at the user's address `at`.
    pub(crate) fn show(&self, at: u64) -> Result {
        let attribute = uapi::alpc_attr_security {
            context: self.id,
            security: self.context.security.0,
            flags: match self.context.is_revoked() {
                true => uapi::ALPC_SECURITY_REVOKED,
                false => 0,
            },
        };
        copy_struct_out(size_of::<uapi::alpc_attr_security>(), at, &attribute)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if self.then == Then::Deleted && !*self.recalled.get_mut() {
            drop(self.contexts.take(self.id, true));
        }
    }
}

/// What is asked of a side's contexts.
#[derive(Clone, Copy)]
pub(crate) enum Ask {
    Create,
    Delete,
    Revoke,
}

/// `ALPC_IOC_CREATE_SECURITY`, `ALPC_IOC_DELETE_SECURITY` and `ALPC_IOC_REVOKE_SECURITY`.
pub(crate) fn request(end: &CommPort, ask: Ask, size: usize, addr: u64) -> Result<isize> {
    const FIRST: usize = size_of::<uapi::alpc_security>();
    let arg: uapi::alpc_security = copy_struct_in(size, addr, FIRST)?;
    let write = |outcome: u32| {
        let answer = uapi::alpc_security { outcome, ..arg };
        let at = offset_of!(uapi::alpc_security, outcome);
        copy_range_out(size, addr, &answer, ioctl::field(at))
    };
    let tell = |context: u64| {
        let answer = uapi::alpc_security {
            context,
            outcome: uapi::ALPC_OUTCOME_OK,
            ..arg
        };
        copy_struct_out(size, addr, &answer)
    };
    try_request(end, ask, &arg, tell)
        .map(|()| 0)
        .map_err(|failure| ioctl::report(failure, arg.outcome, write))
}

fn try_request(
    end: &CommPort,
    ask: Ask,
    arg: &uapi::alpc_security,
    tell: impl Fn(u64) -> Result,
) -> Result<(), Failure> {
    let creates = matches!(ask, Ask::Create);
    if arg.flags != 0
        || arg.reserved != 0
        || (!creates && arg.security != 0)
        || (creates && arg.context != 0)
    {
        return Err(EINVAL.into());
    }
    let contexts = end.connection.contexts(end.side)?;
    if creates {
        let id = contexts.add(make(arg.security, &end.connection, end.side)?)?;
        return Ok(tell(id).inspect_err(|_| drop(contexts.take(id, false)))?);
    }
    // A caller that can't be told is found out before anything has happened.
    let context = contexts.find(arg.context, false)?;
    tell(arg.context)?;
    match ask {
        Ask::Revoke => context.revoked.store(true, Ordering::Relaxed),
        Ask::Create | Ask::Delete => drop(contexts.take(arg.context, false)?),
    }
    Ok(())
}
