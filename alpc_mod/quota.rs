// SPDX-License-Identifier: GPL-2.0

//! What each user has in the module, and the most that it may have.
//!
//! A user's [`Account`] exists while somebody can charge it, see [`charge`](crate::charge). Memory
//! is charged by its size, to the memory cgroup; these limits are about numbers, which a user could
//! otherwise drive up cheaply.
#![deny(unsafe_code)]

use crate::{
    audit::{
        Allowance,
        Recent, //
    },
    buffer::charged,
    caller::Accountable,
    charge::OpenAccount,
    closing::Lane,
    lazy::{
        Lazy,
        MakeLock, //
    },
    logic::quota,
    module_parameters,
    pages,
    shards::{
        Shard,
        ShardKey,
        Shards, //
    },
    shared::shared, //
};
use core::mem::size_of;
use kernel::{
    new_spinlock,
    prelude::*,
    rbtree::{
        Entry,
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLock,
        UniqueArc, //
    }, //
};

/// Ports one user may have. A service has one or a few, a runtime that makes one per thread has
/// thousands; the table of names stays small enough to be walked by a person.
pub(crate) fn ports_per_user() -> u32 {
    module_parameters::ports_per_user.value()
}

/// Connections one user may have begun. Each needs a descriptor on either side, so the default is
/// well above what processes with the usual limits of descriptors reach together.
pub(crate) fn connections_per_user() -> u32 {
    module_parameters::connections_per_user.value()
}

/// Conversations one user may have open. An open one holds a few hundred bytes of bookkeeping, so
/// by default a user can have some 20 MiB of it, which the memory cgroup sees as well.
pub(crate) fn conversations_per_user() -> u32 {
    module_parameters::conversations_per_user.value()
}

/// Pages of memory that one user's views may have. They can't be swapped, so the default is what a
/// few services with megabytes under way have, 256 MiB of 4 KiB pages.
pub(crate) fn view_pages_per_user() -> u32 {
    module_parameters::view_pages_per_user.value()
}

/// Pages of memory that all views together may have: a quarter of what there is, unless a parameter
/// says otherwise.
pub(crate) fn view_pages() -> u32 {
    match module_parameters::view_pages.value() {
        0 => pages::total() / 4,
        pages => pages,
    }
}

/// Handles that one user may have under way or held in messages. A file that only a message has is
/// in no table of descriptors and in no limit of those, but it is in that of all files of the
/// machine. The default is sixteen times what a process may have open by default.
pub(crate) fn handles_per_user() -> u32 {
    module_parameters::handles_per_user.value()
}

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Connection ports, charged to who makes them.
    Port,
    /// Connections, charged to who connects until that end is closed.
    Connection,
    /// What remains of connections whose client has gone, charged to who made the port: a server
    /// that keeps its end, or reads no notices, must not use up what its clients may have.
    Remains,
    /// Requests for a connection that wait for the server.
    Pending,
    /// Open conversations, charged to the client that begins them.
    Conversation,
    /// What a server has sent and a client has still, charged to who made the port, and at all its
    /// ports to the client that has it: a server that sends what nobody reads must not use up what
    /// its clients, or other servers, may have, nor a client what its maker's servers may send.
    Told,
    /// Bytes of it, charged to the client that has it, at that port: who reads nothing must not use
    /// up what the server may send to others.
    ToldByte,
    /// Pages of views, charged to who made the section.
    Page,
    /// Handles in messages, charged to the client that sends them.
    Handle,
    /// Those that a server sends, charged to who made the port, and at all its ports to the client
    /// that has them.
    HandleTold,
    /// Room in a port's window, charged to the client whose views take it, at that port.
    Room,
}

impl Kind {
    /// The most that one user may have.
    pub(crate) fn limit(self) -> u32 {
        match self {
            Self::Port => ports_per_user(),
            Self::Connection | Self::Remains => connections_per_user(),
            // The port has a limit of its own for all.
            Self::Pending | Self::Room | Self::ToldByte => u32::MAX,
            Self::Conversation | Self::Told => conversations_per_user(),
            Self::Page => view_pages_per_user(),
            Self::Handle | Self::HandleTold => handles_per_user(),
        }
    }
}

/// How many of one kind one user has.
///
/// It orders nothing but itself, so every access is relaxed.
pub(crate) struct Counter(Atomic<u32>);

impl Counter {
    /// None.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// How many there are.
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// Counts one more, if that is within the limit.
    pub(crate) fn take(&self, limit: u32) -> bool {
        quota::Account::try_take(self, 1, limit)
    }

    /// Counts one less.
    pub(crate) fn give_back(&self) {
        quota::Account::give_back(self, 1);
    }

    /// Counts one more, where there are never more than it can count.
    pub(crate) fn add_one(&self) {
        self.0.add(1, Relaxed);
    }

    /// Counts one less that was counted.
    pub(crate) fn take_one_off(&self) {
        self.0.add(u32::MAX, Relaxed);
    }

    /// Replaces the value by what `change` makes of it, or leaves it and says so.
    #[inline]
    fn update(&self, change: impl Fn(u32) -> Option<u32>) -> bool {
        let mut used = self.0.load(Relaxed);
        while let Some(new) = change(used) {
            match self.0.cmpxchg(used, new, Relaxed) {
                Ok(_) => return true,
                Err(now) => used = now,
            }
        }
        false
    }
}

impl quota::Account for Counter {
    #[inline]
    fn try_take(&self, count: u32, limit: u32) -> bool {
        self.update(|used| quota::take(used, count, limit))
    }

    #[inline]
    fn give_back(&self, count: u32) {
        self.update(|used| quota::give_back(used, count));
    }
}

/// A counter for others to keep as long as they are counted, which keeps nothing else.
pub(crate) type LazyCounter = Lazy<Arc<Counter>>;

impl LazyCounter {
    /// The counter. Which of two becomes known is settled under `maker`.
    pub(crate) fn counter(&self, maker: &MakeLock) -> Result<Arc<Counter>> {
        self.get_or_make(maker, || shared(Counter::new()))
    }
}

/// Whose an account is, and where.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// 0 for all that the user has, else a port, or who has made some: what the user has there.
    pub(crate) port: usize,
    pub(crate) who: Accountable,
}

impl ShardKey for Key {
    fn spread(&self) -> u64 {
        // Users have consecutive numbers, ports addresses with zeroes at their ends: the upper bits
        // of a product with an odd number of no pattern depend on all of them.
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let who = match self.who {
            Accountable::User(kuid) => u64::from(kuid) << 2,
            Accountable::Namespace(namespace) => (namespace.id() << 2) | 1,
            Accountable::Owner(kuid) => (u64::from(kuid) << 2) | 2,
        };
        let mixed = (self.port as u64).wrapping_mul(ODD) ^ who;
        mixed.wrapping_mul(ODD) >> 32
    }
}

/// What one user has of one kind.
struct Gauge {
    used: Counter,
    /// How often it could not have more.
    refused: Atomic<u64>,
}

impl Gauge {
    const fn new() -> Self {
        Self {
            used: Counter::new(),
            refused: Atomic::new(0),
        }
    }
}

/// The account of a user: what that user has. The account of a user namespace has only a lane, for
/// all who are in the namespace. Gauges and the allowance are atomic, and the lane has a lock; nothing
/// else changes.
#[pin_data]
pub(crate) struct Account {
    pub(crate) key: Key,
    #[pin]
    lane: Lane,
    /// Audit records that it may cause.
    pub(crate) audit: Allowance,
    ports: Gauge,
    connections: Gauge,
    remains: Gauge,
    pending: Gauge,
    conversations: Gauge,
    told: Gauge,
    told_bytes: Gauge,
    pages: Gauge,
    handles: Gauge,
    handles_told: Gauge,
    room: Gauge,
}

impl Account {
    fn new(key: Key) -> impl PinInit<Self> {
        pin_init!(Self {
            key,
            lane <- Lane::new(key.who),
            audit: Allowance::new(),
            ports: Gauge::new(),
            connections: Gauge::new(),
            remains: Gauge::new(),
            pending: Gauge::new(),
            conversations: Gauge::new(),
            told: Gauge::new(),
            told_bytes: Gauge::new(),
            pages: Gauge::new(),
            handles: Gauge::new(),
            handles_told: Gauge::new(),
            room: Gauge::new(),
        })
    }

    #[inline]
    fn gauge(&self, kind: Kind) -> &Gauge {
        match kind {
            Kind::Port => &self.ports,
            Kind::Connection => &self.connections,
            Kind::Remains => &self.remains,
            Kind::Pending => &self.pending,
            Kind::Conversation => &self.conversations,
            Kind::Told => &self.told,
            Kind::ToldByte => &self.told_bytes,
            Kind::Page => &self.pages,
            Kind::Handle => &self.handles,
            Kind::HandleTold => &self.handles_told,
            Kind::Room => &self.room,
        }
    }

    /// Where what is let go of at its expense runs or waits.
    pub(crate) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// How many of a kind it has.
    #[inline]
    pub(crate) fn counter(&self, kind: Kind) -> &Counter {
        &self.gauge(kind).used
    }

    /// The same as a number.
    pub(crate) fn used(&self, kind: Kind) -> u32 {
        self.counter(kind).get()
    }

    /// How often it could not have more of a kind.
    pub(crate) fn refused(&self, kind: Kind) -> u64 {
        self.gauge(kind).refused.load(Relaxed)
    }

    /// It could not have more of a kind.
    pub(crate) fn refuse(&self, kind: Kind) {
        self.gauge(kind).refused.fetch_add(1, Relaxed);
    }
}

/// An account in the table, and how many hold it open.
struct Listed {
    account: Arc<Account>,
    holders: usize,
}

impl Listed {
    /// One more holds it open. `EDQUOT` if that can't be counted.
    fn open(&mut self) -> Result<Arc<Account>> {
        self.holders = self.holders.checked_add(1).ok_or(EDQUOT)?;
        Ok(self.account.clone())
    }

    /// One less holds it open; says whether nobody does.
    fn close(&mut self) -> bool {
        self.holders = self.holders.saturating_sub(1);
        self.holders == 0
    }
}

/// Accounts that are looked at under the lock at a time by who wants to see all.
const STRIDE: usize = 16;

/// The accounts of all users that have anything.
#[pin_data]
pub(crate) struct Accounts {
    /// Pages of views of all users.
    pages: Counter,
    /// Held for a moment when a user is first charged for what a maker of ports has sent it.
    #[pin]
    maker: MakeLock,
    /// Locked when a charger is made and when it goes, never to charge.
    #[pin]
    table: Shards<Key, Listed>,
    /// Listed, whatever they have.
    #[pin]
    recent: SpinLock<Recent>,
}

impl Accounts {
    /// No accounts.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let recent = Recent::new()?;
        Arc::pin_init(
            pin_init!(Self {
                recent <- new_spinlock!(recent, "Accounts::recent"),
                pages: Counter::new(),
                maker <- new_spinlock!((), "Accounts::maker"),
                table <- Shards::new(|| new_spinlock!(RBTree::new(), "Accounts::table")),
            }),
            GFP_KERNEL,
        )
    }

    /// The account of a user, listed until the result is dropped.
    ///
    /// An account that is found has holders, and is listed as long as the lock is held: so it can't
    /// be on its way out.
    pub(crate) fn open(this: &Arc<Self>, key: Key) -> Result<OpenAccount> {
        let shard = this.table.of(&key);
        let found = shard.lock().get_mut(&key).map(Listed::open).transpose()?;
        if let Some(account) = found {
            return Ok(OpenAccount::new(this, account));
        }
        let room = charged(size_of::<Account>(), UniqueArc::<Account>::new_uninit)?;
        let Ok(new) = room.pin_init_with(Account::new(key));
        let new: Arc<Account> = new.into();
        // A little more than what is listed.
        let room = charged(2 * size_of::<Listed>(), RBTreeNodeReservation::new)?;
        let listed = Listed {
            account: new.clone(),
            holders: 1,
        };
        // Locked last, so that what is not needed is dropped after the lock is released.
        let mut table = shard.lock();
        let account = match table.entry(key) {
            // Somebody else has been faster.
            Entry::Occupied(mut entry) => entry.get_mut().open()?,
            Entry::Vacant(entry) => {
                entry.insert(listed, room);
                new.clone()
            }
        };
        drop(table);
        Ok(OpenAccount::new(this, account))
    }

    /// Pages of views of all users.
    pub(crate) fn all_pages(&self) -> &Counter {
        &self.pages
    }

    /// Settles which of two chargers that were made at a time becomes known.
    pub(crate) fn maker(&self) -> &MakeLock {
        &self.maker
    }

    /// What a user has, if that is anything.
    pub(crate) fn find(&self, who: Accountable) -> Option<Arc<Account>> {
        let key = Key { port: 0, who };
        let table = self.table.of(&key).lock();
        table.get(&key).map(|listed| listed.account.clone())
    }

    /// Calls `f` with each user that has anything, until it fails. Nothing is locked then, and who
    /// comes or goes meanwhile may be left out.
    pub(crate) fn for_each<E>(
        &self,
        mut f: impl FnMut(Accountable, &Account) -> Result<(), E>,
    ) -> Result<(), E> {
        for shard in self.table.all() {
            let mut last = None;
            loop {
                let mut some = [const { None }; STRIDE];
                Self::list(shard, last, &mut some);
                for account in some.iter().flatten() {
                    let account: &Arc<Account> = account;
                    if account.key.who.is_counted() {
                        f(account.key.who, account)?;
                    }
                }
                // The next ones come behind the last, if there may be more.
                let [.., Some(account)] = &some else {
                    break;
                };
                last = Some(account.key);
            }
        }
        Ok(())
    }

    /// Puts the users of a tree behind the `last` one into the places of `some`, as far as they go.
    fn list(shard: &Shard<Key, Listed>, last: Option<Key>, some: &mut [Option<Arc<Account>>]) {
        let from = last.unwrap_or(Key {
            port: 0,
            who: Accountable::User(0),
        });
        let mut table = shard.lock();
        let mut next = table.cursor_lower_bound_mut(&from);
        if last.is_some() && next.as_ref().map(|next| *next.current().0) == last {
            next = next.and_then(|next| next.move_next());
        }
        for place in some {
            // What users have at ports is behind what they have at all.
            let Some(cursor) = next.filter(|next| next.current().0.port == 0) else {
                return;
            };
            *place = Some(cursor.current().1.account.clone());
            next = cursor.move_next();
        }
    }

    /// Keeps an account listed that the caller holds open, as long as its allowance isn't all there.
    pub(crate) fn keep_recent(&self, account: &Arc<Account>) {
        let mut table = self.table.of(&account.key).lock();
        let opened = table.get_mut(&account.key).map(Listed::open);
        drop(table);
        let Some(Ok(opened)) = opened else { return };
        let left = self.recent.lock().add(opened);
        for account in left.iter().flatten() {
            self.close(account.key);
        }
    }

    /// Undoes one [`open`](Self::open).
    pub(crate) fn close(&self, key: Key) {
        let mut table = self.table.of(&key).lock();
        let entry = table.find_mut(&key);
        let node = entry.and_then(|mut entry| entry.get_mut().close().then(|| entry.remove_node()));
        drop(table);
        drop(node);
    }
}
