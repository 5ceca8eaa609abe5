// SPDX-License-Identifier: GPL-2.0

//! Communication ports: the two ends of a connection.
#![deny(unsafe_code)]

use crate::{
    audit::Recorded,
    call,
    charge::{
        Charge,
        Charger, //
    },
    cred::Party,
    file::{
        ObjectFile,
        PollHead,
        PollTable, //
    },
    file_table::FileTable,
    holder,
    logic::engine::{
        Phase,
        Progress,
        Side,
        Source,
        NONE, //
    },
    message::{
        take_kept,
        Spare, //
    },
    port::{
        Port,
        READABLE,
        WRITABLE, //
    },
    quota::{
        Counter,
        Kind,
        LazyCounter, //
    },
    security::{
        Contexts,
        LazyContexts,
        Security, //
    },
    shared::{
        shared,
        shared_pinned, //
    },
    takes::Takes,
    token::Tokens,
    uapi,
    window::{
        self,
        LazyWindow, //
    }, //
};
use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use kernel::{
    bindings,
    fs::file::File,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        SetOnce, //
    }, //
};

/// What a connection costs who connects.
pub(crate) struct Costs {
    /// The accounts that its conversations are charged to as well.
    pub(crate) charger: Arc<Charger>,
    /// The accounts of its places at the port.
    pub(crate) here: Arc<Charger>,
    /// The connection, until the client's end is closed.
    pub(crate) connection: Charge,
    /// Its place at the port, as long as there is anything of it.
    pub(crate) _place: Charge,
    /// Its place among those who wait for the server's answer.
    pub(crate) pending: Charge,
}

/// What both ends of a connection share. Its state is in the port's engine.
#[pin_data]
pub(crate) struct Connection {
    costs: Costs,
    /// What it costs the port's maker once the client's end is closed.
    remains: SetOnce<Charge>,
    pub(crate) port: Arc<Port>,
    #[pin]
    client_poll: PollHead,
    #[pin]
    server_poll: PollHead,
    client_spare: Spare,
    server_spare: Spare,
    /// Room for the answer to what the client sends next without waiting.
    pub(crate) room: Spare,
    /// What the client takes from the server.
    client_takes: Takes,
    /// What the client may do: `ALPC_RIGHT_*`, settled when it connected.
    rights: u32,
    /// What may be done with who the client is.
    security: Security,
    /// The user of the last audit record of an impersonation on this connection.
    pub(crate) recorded: Recorded,
    client_contexts: LazyContexts,
    server_contexts: LazyContexts,
    /// Views that the client has from the server.
    lent_to_client: LazyCounter,
    /// Views that the server has from the client.
    lent_to_server: LazyCounter,
    /// Who has sent on it, for those who ask.
    #[pin]
    pub(crate) tokens: Tokens,
    /// Who connected.
    pub(crate) client: Party,
    /// The server, once it has accepted.
    accepted: SetOnce<Accepted>,
    /// Whether its client has received something that is to be answered.
    held: Atomic<bool>,
}

/// A server that has accepted, and what its client has to know of that.
struct Accepted {
    /// Who accepted.
    server: Party,
    /// The attributes that the server takes from the client.
    takes: Takes,
}

impl Connection {
    /// A connection that the current task asks for.
    pub(crate) fn new(
        port: Arc<Port>,
        costs: Costs,
        takes: Takes,
        rights: u32,
        security: Security,
    ) -> Result<Arc<Self>> {
        let mut client = Party::current();
        if security.is_anonymous() {
            client.who.hide();
        }
        shared_pinned(pin_init!(Self {
            costs,
            remains: SetOnce::new(),
            port,
            client_poll <- PollHead::new(),
            server_poll <- PollHead::new(),
            client_spare: Spare::new(),
            server_spare: Spare::new(),
            room: Spare::new(),
            client_takes: takes,
            rights,
            security,
            recorded: Recorded::new(),
            client_contexts: LazyContexts::new(),
            server_contexts: LazyContexts::new(),
            lent_to_client: LazyCounter::new(),
            lent_to_server: LazyCounter::new(),
            tokens <- Tokens::new(),
            client,
            accepted: SetOnce::new(),
            held: Atomic::new(false),
        }))
    }

    /// Where those wait who poll a side's port.
    pub(crate) fn poll(&self, side: Side) -> &PollHead {
        match side {
            Side::Client => &self.client_poll,
            Side::Server => &self.server_poll,
        }
    }

    /// The message that a side's sends use in turn.
    pub(crate) fn spare(&self, side: Side) -> &Spare {
        match side {
            Side::Client => &self.client_spare,
            Side::Server => &self.server_spare,
        }
    }

    /// What a conversation of the client's is charged to.
    pub(crate) fn charge_conversation(&self) -> Result<Charge> {
        Charge::new(&self.costs.charger, Kind::Conversation)
    }

    /// What so many bytes are charged to that the server sends and that the client may leave where
    /// they are: to who made the port, and there to the client's part of all that.
    pub(crate) fn charge_told(&self, bytes: u32) -> Result<Charge> {
        Charge::several(&self.costs.here, Kind::ToldByte, bytes)
    }

    /// The accounts of who owns a side: who has connected, or who has made the port. Others may send
    /// there, too.
    pub(crate) fn owner(&self, side: Side) -> &Arc<Charger> {
        match side {
            Side::Client => &self.costs.charger,
            Side::Server => self.port.place.maker(),
        }
    }

    /// What the handles in a side's messages are charged to.
    pub(crate) fn charge_handles(&self, side: Side, count: u32) -> Result<Charge> {
        let (charger, kind) = match side {
            Side::Client => (&self.costs.charger, Kind::Handle),
            Side::Server => (&self.costs.here, Kind::HandleTold),
        };
        Charge::several(charger, kind, count)
    }

    /// What a view of so many pages takes of the server's window.
    pub(crate) fn charge_room(&self, pages: u32) -> Result<Charge> {
        Charge::several(&self.costs.here, Kind::Room, window::room_for(pages))
    }

    /// The server is about to accept: before anybody can tell.
    pub(crate) fn accept(&self, server: Party, takes: Takes) {
        self.accepted.populate(Accepted { server, takes });
    }

    /// The server's process, if it has accepted.
    pub(crate) fn server(&self) -> Option<&Party> {
        self.accepted.as_ref().map(|accepted| &accepted.server)
    }

    /// The client is about to receive something that is to be answered.
    pub(crate) fn note_held(&self) {
        self.held.store(true, Relaxed);
    }

    /// Whether it has.
    fn holds(&self) -> bool {
        self.held.load(Relaxed)
    }

    /// What a side takes from the other.
    pub(crate) fn takes(&self, side: Side) -> Takes {
        match side {
            Side::Client => self.client_takes,
            Side::Server => {
                let accepted = self.accepted.as_ref();
                accepted.map_or(Takes::default(), |accepted| accepted.takes)
            }
        }
    }

    /// Whether the client has all of these `ALPC_RIGHT_*`.
    pub(crate) fn granted(&self, rights: u32) -> bool {
        self.rights & rights == rights
    }

    /// What may be done with who sends from a side, where the message says nothing else.
    pub(crate) fn security(&self, from: Side) -> Security {
        match from {
            Side::Client => self.security,
            Side::Server => Security::IDENTIFY,
        }
    }

    fn lazy_contexts(&self, side: Side) -> &LazyContexts {
        match side {
            Side::Client => &self.client_contexts,
            Side::Server => &self.server_contexts,
        }
    }

    /// The security contexts of a side.
    pub(crate) fn contexts(&self, side: Side) -> Result<Arc<Contexts>> {
        self.lazy_contexts(side)
            .get_or_make(&self.port.maker, Contexts::new)
    }

    fn lent_to(&self, to: Side) -> &LazyCounter {
        match to {
            Side::Client => &self.lent_to_client,
            Side::Server => &self.lent_to_server,
        }
    }

    /// The views that a side has from the other.
    pub(crate) fn lent(&self, to: Side) -> Result<Arc<Counter>> {
        self.lent_to(to).counter(&self.port.maker)
    }

    /// The same if there have been any.
    pub(crate) fn lent_counter(&self, to: Side) -> Option<&Arc<Counter>> {
        self.lent_to(to).get()
    }

    /// How many places among pending requests and among connections of the port
    /// its client has, with this one.
    pub(crate) fn places(&self) -> (u32, u32) {
        let here = &self.costs.here;
        (here.most(Kind::Pending), here.most(Kind::Connection))
    }

    /// Its request is no more: answered, or withdrawn.
    pub(crate) fn not_pending(&self) {
        self.costs.pending.end();
    }

    /// The client's end is closed: what there still is, is the server's affair.
    fn client_left(&self) {
        let remains = Charge::beyond(self.port.place.maker(), Kind::Remains);
        self.remains.populate(remains);
        self.costs.connection.end();
    }

    /// Wakes everybody who polls either end.
    pub(crate) fn wake_pollers(&self) {
        for side in [Side::Client, Side::Server] {
            if self.poll(side).is_active() {
                self.poll(side)
                    .wake_all(READABLE | WRITABLE | bindings::POLLHUP);
            }
        }
    }
}

/// What a phase is in the ABI.
pub(crate) fn state(phase: Phase) -> u32 {
    match phase {
        Phase::Pending => uapi::ALPC_STATE_PENDING,
        Phase::Open => uapi::ALPC_STATE_OPEN,
        Phase::Refused => uapi::ALPC_STATE_REFUSED,
        Phase::Ended(_) | Phase::Free => uapi::ALPC_STATE_DISCONNECTED,
    }
}

/// One end of a connection: the object of its descriptor.
pub(crate) struct CommPort {
    pub(crate) connection: Arc<Connection>,
    pub(crate) side: Side,
    /// The connection's number in the engine; [`NONE`] until there is one. Set
    /// before the descriptor exists, hence read without order.
    index: AtomicU32,
    /// The id of the connection request, for a wait for the answer that goes on.
    request: SetOnce<u64>,
    /// Where a client sees what the server lends. A server does at its connection port.
    pub(crate) window: LazyWindow,
    /// Sections made on the descriptor.
    pub(crate) sections: LazyCounter,
}

impl CommPort {
    /// An end of a connection that the engine does not know yet.
    pub(crate) fn new(connection: Arc<Connection>, side: Side) -> Result<Arc<Self>> {
        shared(Self {
            connection,
            side,
            index: AtomicU32::new(NONE),
            request: SetOnce::new(),
            window: LazyWindow::new(),
            sections: LazyCounter::new(),
        })
    }

    /// Says which connection of the engine it is. From now on its release ends it.
    pub(crate) fn bind(&self, index: u32, request: u64) {
        self.request.populate(request);
        self.index.store(index, Ordering::Relaxed);
    }

    /// The connection's number in the engine.
    #[inline]
    pub(crate) fn index(&self) -> u32 {
        self.index.load(Ordering::Relaxed)
    }

    /// Whether what is sent here tells the origin of its sender.
    pub(crate) fn sends_origin(&self) -> bool {
        let taken = self.connection.takes(Side::Server);
        self.side == Side::Client && taken.has(uapi::ALPC_TAKE_IDENTITY)
    }

    /// Whether nobody is told who sends here.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.connection.security(self.side).is_anonymous()
    }

    /// The id of the connection request.
    pub(crate) fn request(&self) -> u64 {
        self.request.copy().unwrap_or(0)
    }

    /// The port.
    #[inline]
    pub(crate) fn port(&self) -> &Arc<Port> {
        &self.connection.port
    }

    fn source(&self) -> Source {
        Source::Side(self.index(), self.side)
    }

    /// Ends the connection.
    pub(crate) fn disconnect(&self, flush: bool) {
        let mut progress = Progress::default();
        self.port()
            .run(|engine, fx| engine.disconnect(self.index(), self.side, flush, &mut progress, fx));
        self.port().tell_of_no_clients();
        if self.side == Side::Client {
            self.connection.not_pending();
        }
    }

    /// Answers `ALPC_IOC_QUERY_PORT`.
    pub(crate) fn info(&self) -> uapi::alpc_query_port {
        let engine = self.port().lock();
        let phase = engine.phase(self.index());
        let context = engine.context(self.index(), self.side);
        let share = engine.share(self.index());
        drop(engine);
        // Who sees that the connection is open is told who the server is.
        let (role, peer) = match self.side {
            Side::Client => (uapi::ALPC_ROLE_CLIENT, self.connection.server()),
            Side::Server => (uapi::ALPC_ROLE_SERVER, Some(&self.connection.client)),
        };
        let peer = peer.map(|peer| peer.who.seen_by_current());
        uapi::alpc_query_port {
            state: state(phase),
            views: self
                .connection
                .lent_counter(self.side)
                .map_or(0, |lent| lent.get()),
            sections: self.sections.get().map_or(0, |sections| sections.get()),
            max_message_length: share.map_or(0, |share| share.max_length),
            queue_messages: share.map_or(0, |share| share.messages),
            queue_bytes: share.map_or(0, |share| share.bytes),
            context,
            peer_pid: peer.as_ref().map_or(0, |seen| seen.pid),
            peer_uid: peer.as_ref().map_or(0, |seen| seen.uid),
            peer_gid: peer.as_ref().map_or(0, |seen| seen.gid),
            ..self.port().describe(self.source(), role)
        }
    }

    /// Frees the slot that a message kept, which is not going to be used again.
    pub(crate) fn release_slot(&self, slot: u32) {
        self.port()
            .step(|engine, fx| engine.release(self.index(), slot, fx));
    }
}

impl ObjectFile for CommPort {
    const NAME: &'static CStr = c"[alpc-comm]";
    const FLUSHED: bool = true;

    #[inline]
    fn ioctl(
        this: ArcBorrow<'_, Self>,
        _file: &File,
        nonblock: bool,
        cmd: u32,
        arg: usize,
    ) -> Result<isize> {
        call::comm_ioctl(this, nonblock, cmd, arg as u64)
    }

    fn poll<'file>(&'file self, table: PollTable<'file>) -> u32 {
        table.register(self.connection.poll(self.side));
        self.port().events(self.source())
    }

    fn flush(this: ArcBorrow<'_, Self>, table: &FileTable) {
        let may_hold = match this.side {
            Side::Client => this.connection.holds(),
            // Else the connection port is enough.
            Side::Server => this.port().by_end.load(Relaxed),
        };
        if may_hold && this.index() != NONE {
            holder::flush(this.port(), this.source(), table);
        }
    }

    fn show_fdinfo(this: ArcBorrow<'_, Self>, m: &SeqFile) {
        let port = this.port();
        port.print(m, port.name.as_ref(), &this.info());
        if this.side == Side::Client {
            this.window.print(m);
        }
    }

    fn release(this: Arc<Self>) {
        if this.index() == NONE {
            return;
        }
        this.disconnect(false);
        if let Some(message) = this.connection.spare(this.side).take() {
            if let Some(slot) = take_kept(&message) {
                this.release_slot(slot);
            }
        }
        if let Some(contexts) = this.connection.lazy_contexts(this.side).get() {
            contexts.clear();
        }
        match this.side {
            Side::Client => {
                if this.connection.holds() {
                    this.port().forget_holders(this.source());
                }
                drop(this.connection.room.take());
                this.connection.client_left();
                this.window.close();
            }
            // What came here after the connection port was closed may have made its window.
            Side::Server if this.port().lock().is_closed() => this.port().window.close(),
            Side::Server => {}
        }
        let mut progress = Progress::default();
        this.port()
            .run(|engine, fx| engine.close_side(this.index(), this.side, &mut progress, fx));
        this.port().retire();
    }
}
