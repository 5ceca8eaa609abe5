// SPDX-License-Identifier: GPL-2.0

//! The connection port: an engine under a lock, and what does not change.
//!
//! [`Port`] is the object of a connection port's descriptor.
#![deny(unsafe_code)]

use crate::{
    acl::Acl,
    call,
    charge::{
        Charge,
        Charger,
        Place, //
    },
    comm::Connection,
    cred::Party,
    file::{
        ObjectFile,
        PollHead,
        PollTable, //
    },
    file_table::FileTable,
    holder,
    inode::{
        Act,
        Inode, //
    },
    lazy::MakeLock,
    logic::engine::{
        Conn,
        Delivery,
        Effects,
        Ending,
        Engine,
        Holder,
        Host,
        Peer,
        Progress,
        Share,
        Side,
        Slot,
        Source,
        Table, //
    },
    message::{
        uncharge_told,
        unload,
        Message,
        Spare, //
    },
    names::{
        Names,
        PortName, //
    },
    outcome::{
        Failure,
        Outcome, //
    },
    quota::LazyCounter,
    shared::shared_pinned,
    table::{
        Chunks,
        Growth, //
    },
    takes::Takes,
    thread_end::Watch,
    uapi,
    wait_set::{
        Handed,
        WaitSet,
        Waker, //
    },
    window::LazyWindow, //
};
use core::mem::replace;
use kernel::{
    bindings,
    fs::file::File,
    new_spinlock,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::{
            spinlock::SpinLockBackend,
            Guard, //
        },
        Arc,
        ArcBorrow,
        SetOnce,
        SpinLock, //
    }, //
};

/// What the engine runs on here.
pub(crate) struct Kernel;

impl Host for Kernel {
    type Body = Arc<Message>;
    type Peer = Arc<Connection>;
    type Waiters = WaitSet;
    type Slots = Chunks<Slot<Self>>;
    type Conns = Chunks<Conn<Self>>;
    type Holders = Chunks<Holder<Self>>;
    type Watch = Watch;
    type Waker = Waker;
    type Handed<'a> = Handed<'a>;
}

impl Peer for Arc<Connection> {
    fn is_polled(&self, side: Side) -> bool {
        self.poll(side).is_active()
    }
}

/// The engine of a port, locked.
pub(crate) type Locked<'a> = Guard<'a, Engine<Kernel>, SpinLockBackend>;

/// A connection port.
#[pin_data]
pub(crate) struct Port {
    #[pin]
    engine: SpinLock<Engine<Kernel>>,
    #[pin]
    pub(crate) poll: PollHead,
    /// The message that replies made through this port use in turn.
    pub(crate) spare: Spare,
    pub(crate) name: Option<PortName>,
    names: Arc<Names<Port>>,
    /// Who may connect, from now on.
    #[pin]
    acl: SpinLock<Acl>,
    pub(crate) flags: u32,
    pub(crate) context: u64,
    pub(crate) share: Share,
    /// What the server takes from a client, if it says nothing else on accepting it.
    pub(crate) takes: Takes,
    /// Where the server sees what its clients lend.
    pub(crate) window: LazyWindow,
    /// What users have here, and who made it.
    pub(crate) place: Arc<Place>,
    /// Held while that or a counter becomes known, or those of a connection.
    #[pin]
    pub(crate) maker: MakeLock,
    /// Sections made on the port's descriptor.
    pub(crate) sections: LazyCounter,
    pub(crate) owner: Party,
    /// The port itself, until it is closed.
    charge: Charge,
    /// Connections that there was no place for.
    refused: Atomic<u32>,
    /// The inode that security modules know the port by, set before anybody can find the port.
    inode: SetOnce<Inode>,
    /// Whether a server may answer by the port of one connection only, or might have.
    pub(crate) by_end: Atomic<bool>,
}

/// What a port is made with.
pub(crate) struct Config {
    pub(crate) name: Option<PortName>,
    pub(crate) acl: Acl,
    pub(crate) flags: u32,
    pub(crate) context: u64,
    pub(crate) share: Share,
    pub(crate) takes: Takes,
    pub(crate) max_connections: u32,
    /// Memory of what the server has sent and clients have still.
    pub(crate) told_bytes: u32,
    pub(crate) charger: Arc<Charger>,
    pub(crate) charge: Charge,
}

impl Port {
    /// A port that belongs to the current task, in no table yet.
    pub(crate) fn new(config: Config, names: Arc<Names<Port>>) -> Result<Arc<Self>> {
        let mut engine = Engine::new(
            Chunks::new(),
            Chunks::new(),
            Chunks::new(),
            config.flags & uapi::ALPC_PORT_ARRIVAL_ORDER != 0,
            config.max_connections,
        );
        engine.set_port_context(config.context);
        let place = Place::new(config.told_bytes, config.charger)?;
        shared_pinned(pin_init!(Self {
            engine <- new_spinlock!(engine, "Port::engine"),
            poll <- PollHead::new(),
            spare: Spare::new(),
            name: config.name,
            names,
            acl <- new_spinlock!(config.acl, "Port::acl"),
            flags: config.flags,
            context: config.context,
            share: config.share,
            takes: config.takes,
            window: LazyWindow::new(),
            place,
            maker <- new_spinlock!((), "Port::maker"),
            sections: LazyCounter::new(),
            owner: Party::current(),
            charge: config.charge,
            refused: Atomic::new(0),
            inode: SetOnce::new(),
            by_end: Atomic::new(false),
        }))
    }

    /// Locks the state.
    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_> {
        self.engine.lock()
    }

    /// There was no place for a connection.
    pub(crate) fn note_refusal(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Who may connect just now.
    pub(crate) fn acl(&self) -> Acl {
        self.acl.lock().clone()
    }

    /// Says who may connect from now on.
    pub(crate) fn replace_acl(&self, acl: Acl) {
        let old = replace(&mut *self.acl.lock(), acl);
        // The lock is released: it may be the last reference to the list.
        drop(old);
    }

    /// Security modules know the port by this from now on.
    pub(crate) fn label(&self, inode: Inode) {
        self.inode.populate(inode);
    }

    /// Asks the security modules whether the current task may do something to the port.
    pub(crate) fn permits(&self, act: Act) -> Result<(), Failure> {
        let inode = self.inode.as_ref();
        inode.map_or(Err(Outcome::AccessDenied.into()), |inode| {
            inode.permits(act)
        })
    }

    /// Whether the port is in LPC mode.
    pub(crate) fn is_lpc(&self) -> bool {
        self.flags & uapi::ALPC_PORT_LPC_MODE != 0
    }

    /// Makes the tables grow that have no free entry.
    pub(crate) fn grow(&self) -> Result {
        self.grow_table(Table::Slots, Engine::slots_mut)?;
        self.grow_table(Table::Conns, Engine::conns_mut)
    }

    /// Makes the table of holders grow, if it has no free entries.
    pub(crate) fn grow_holders(&self) -> Result {
        self.grow_table(Table::Holders, Engine::holders_mut)
    }

    fn grow_table<T: Default>(
        &self,
        table: Table,
        chunks: fn(&mut Engine<Kernel>) -> &mut Chunks<T>,
    ) -> Result {
        let engine = self.lock();
        let (is_full, len) = (engine.is_full(table), engine.table_len(table));
        drop(engine);
        if !is_full {
            return Ok(());
        }
        let mut growth = Growth::new(len)?;
        let mut done = false;
        while !done {
            let mut engine = self.lock();
            let len = engine.table_len(table);
            done = chunks(&mut engine).grow(&mut growth);
            engine.grown(table, len);
        }
        Ok(())
    }

    /// Keeps a message that a reply through this port can use, or drops it.
    #[inline(always)]
    pub(crate) fn recycle(&self, message: Arc<Message>) {
        // The client's memory is not for the server's next reply.
        if let Some(message) = unload(message).filter(|message| !message.is_paid()) {
            match message.charge {
                None => self.recycle_empty(message),
                Some(_) => self.recycle_told(message),
            }
        }
    }

    /// The same with what the server has sent, and a client has had for a while.
    #[inline(never)]
    fn recycle_told(&self, message: Arc<Message>) {
        if let Some(message) = uncharge_told(message) {
            self.recycle_empty(message);
        }
    }

    /// The same with one that carries nothing.
    #[inline(always)]
    pub(crate) fn recycle_empty(&self, message: Arc<Message>) {
        if message.charge.is_none() {
            if let Some(message) = self.spare.put(message) {
                drop(message);
            }
        }
    }

    /// Runs a step of the engine until it says that nothing is left, acting on
    /// its effects in between.
    pub(crate) fn run(
        &self,
        mut step: impl FnMut(&mut Engine<Kernel>, &mut Effects<Kernel>) -> bool,
    ) {
        while self.step(&mut step) {}
    }

    /// Puts a message back that could not be given to its receiver.
    pub(crate) fn undeliver(&self, delivery: Delivery<Kernel>) {
        self.step(|engine, fx| engine.undeliver(delivery, fx));
    }

    /// Ends a request that its receiver may not have.
    pub(crate) fn reject(&self, delivery: Delivery<Kernel>) {
        self.step(|engine, fx| engine.reject(&delivery, fx));
    }

    /// Closes the port: its name is free, its connections end, its waits too.
    pub(crate) fn shut(&self, flush: bool) {
        if let Some(name) = &self.name {
            self.names.remove(name, self);
        }
        let (mut progress, mut inner) = (Progress::default(), Progress::default());
        self.run(|engine, fx| engine.close_port(flush, &mut progress, &mut inner, fx));
        if self.poll.is_active() {
            self.poll.wake_all(READABLE | bindings::POLLHUP);
        }
    }

    /// Forgets who has received at a side that nobody receives at any more.
    pub(crate) fn forget_holders(&self, at: Source) {
        let mut ending = Ending::default();
        loop {
            let mut watch = None;
            let mut engine = self.lock();
            let more = engine.forget_holders(at, &mut ending, &mut watch);
            drop(engine);
            drop(watch);
            if !more {
                return;
            }
        }
    }

    /// What led to the port does no more: a connect descriptor, a connection that was refused.
    pub(crate) fn lose_way(&self) {
        self.step(Engine::lose_way);
        self.tell_of_no_clients();
    }

    /// Wakes who polls, if nobody can reach the port any more. Who waits has been told.
    pub(crate) fn tell_of_no_clients(&self) {
        // As long as it has a name, it can be found.
        if self.name.is_none() && self.poll.is_active() && self.lock().has_no_clients() {
            self.poll.wake_all(READABLE | bindings::POLLRDHUP);
        }
    }

    /// Gives the tables back that nothing can be in any more, of a port that others keep.
    pub(crate) fn retire(&self) {
        let (mut slots, mut conns, mut holders) = (Chunks::new(), Chunks::new(), Chunks::new());
        let mut engine = self.lock();
        engine.retire(&mut slots, &mut conns, &mut holders);
        drop(engine);
        drop((slots, conns, holders));
    }

    /// The events of a source, as `POLL*`.
    pub(crate) fn events(&self, source: Source) -> u32 {
        let engine = self.lock();
        let (readable, ended) = engine.readiness(source);
        let writable = match source {
            Source::Port => false,
            Source::Side(conn, side) => engine.has_room(conn, side),
        };
        let no_clients = source == Source::Port && engine.has_no_clients();
        drop(engine);
        let mut events = 0;
        if readable || ended || no_clients {
            events |= READABLE;
        }
        if no_clients {
            events |= bindings::POLLRDHUP;
        }
        if writable {
            events |= WRITABLE;
        }
        if ended {
            events |= bindings::POLLHUP;
        }
        events
    }

    /// Answers `ALPC_IOC_QUERY_PORT` as far as all roles have it in common.
    pub(crate) fn describe(&self, source: Source, role: u32) -> uapi::alpc_query_port {
        let engine = self.lock();
        let gauges = engine.gauges(source);
        drop(engine);
        uapi::alpc_query_port {
            role,
            flags: self.flags,
            queued_messages: gauges.messages,
            queued_bytes: gauges.bytes,
            connections: gauges.connections,
            conversations: gauges.conversations,
            sequence: gauges.sequence,
            ..Default::default()
        }
    }

    /// The lines of `fdinfo` that all roles have.
    pub(crate) fn print(&self, m: &SeqFile, name: Option<&PortName>, info: &uapi::alpc_query_port) {
        let role = match info.role {
            uapi::ALPC_ROLE_CONNECTION => "connection",
            uapi::ALPC_ROLE_SERVER => "server",
            uapi::ALPC_ROLE_CLIENT => "client",
            _ => "connect",
        };
        let state = match info.state {
            uapi::ALPC_STATE_OPEN => "open",
            uapi::ALPC_STATE_PENDING => "pending",
            uapi::ALPC_STATE_REFUSED => "refused",
            _ => "disconnected",
        };
        seq_print!(m, "alpc-role:\t{role}\nalpc-state:\t{state}\n");
        if let Some(name) = name {
            seq_print!(m, "alpc-name:\t{}\n", name.as_str());
        }
        seq_print!(
            m,
            "alpc-flags:\t{:#x}\nalpc-max-message:\t{}\nalpc-share:\t{} messages, {} bytes\n",
            info.flags,
            info.max_message_length,
            info.queue_messages,
            info.queue_bytes
        );
        seq_print!(
            m,
            "alpc-queued:\t{} messages, {} bytes\nalpc-connections:\t{}\nalpc-conversations:\t{}\n",
            info.queued_messages,
            info.queued_bytes,
            info.connections,
            info.conversations
        );
        seq_print!(
            m,
            "alpc-refused:\t{}\nalpc-sections:\t{}\nalpc-views:\t{}\n",
            info.refused,
            info.sections,
            info.views
        );
        if info.told_limit != 0 {
            seq_print!(
                m,
                "alpc-told:\t{} of {} bytes\n",
                info.told_bytes,
                info.told_limit
            );
        }
        if info.peer_pid != 0 {
            seq_print!(
                m,
                "alpc-peer:\tpid {} uid {} gid {}\n",
                info.peer_pid,
                info.peer_uid,
                info.peer_gid
            );
        }
    }

    /// Answers `ALPC_IOC_QUERY_PORT` on the connection port.
    pub(crate) fn info(&self) -> uapi::alpc_query_port {
        let closed = self.lock().is_closed();
        let (told_bytes, told_limit) = self.place.told();
        uapi::alpc_query_port {
            state: match closed {
                true => uapi::ALPC_STATE_DISCONNECTED,
                false => uapi::ALPC_STATE_OPEN,
            },
            max_message_length: self.share.max_length,
            queue_messages: self.share.messages,
            queue_bytes: self.share.bytes,
            context: self.context,
            refused: self.refused.load(Relaxed),
            sections: self.sections.get().map_or(0, |sections| sections.get()),
            told_limit,
            told_bytes,
            ..self.describe(Source::Port, uapi::ALPC_ROLE_CONNECTION)
        }
    }
}

/// Something can be received.
pub(crate) const READABLE: u32 = bindings::POLLIN | bindings::POLLRDNORM;
/// Something can be sent.
pub(crate) const WRITABLE: u32 = bindings::POLLOUT | bindings::POLLWRNORM;

impl ObjectFile for Port {
    const NAME: &'static CStr = c"[alpc-port]";
    const LABELLED: bool = true;
    const FLUSHED: bool = true;

    #[inline]
    fn ioctl(
        this: ArcBorrow<'_, Self>,
        _file: &File,
        nonblock: bool,
        cmd: u32,
        arg: usize,
    ) -> Result<isize> {
        call::port_ioctl(this, nonblock, cmd, arg as u64)
    }

    fn poll<'file>(&'file self, table: PollTable<'file>) -> u32 {
        table.register(&self.poll);
        self.events(Source::Port)
    }

    fn flush(this: ArcBorrow<'_, Self>, table: &FileTable) {
        holder::flush(&this, Source::Port, table);
    }

    fn show_fdinfo(this: ArcBorrow<'_, Self>, m: &SeqFile) {
        this.print(m, this.name.as_ref(), &this.info());
        this.window.print(m);
    }

    fn release(this: Arc<Self>) {
        this.shut(false);
        // Nobody can receive what is left: notices, and what was sent one-way.
        this.run(|engine, fx| engine.drain_port(fx));
        this.forget_holders(Source::Port);
        this.retire();
        this.window.close();
        // Others may keep what is left of it.
        this.charge.end();
    }
}
