// SPDX-License-Identifier: GPL-2.0

//! What each user has in the module, and the most that it may have.
//!
//! A user's [`Account`] exists while somebody can charge it. A [`Charger`] is the accounts of all
//! who answer for one task, looked up once, when a port or a connection is made: charging is then
//! a few atomic operations, without a lock. Memory is charged by its size, to the memory cgroup;
//! these limits are about numbers, which a user could otherwise drive up cheaply.
#![deny(unsafe_code)]

use crate::{
    cred::{
        for_each_accountable,
        for_each_accountable_to,
        Accountable,
        Identity, //
    },
    lazy::Lazy,
    logic::quota,
    module_parameters,
    pages,
    window, //
};
use kernel::{
    new_mutex,
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
        Mutex, //
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
    /// The same that a server begins, charged to the client that it tells something.
    Told,
    /// Pages of views, charged to who made the section.
    Page,
    /// Handles in messages, charged to the client that sends them.
    Handle,
    /// Those that a server sends, charged to the client that leaves them unread.
    HandleTold,
    /// Room in a port's window, charged to the client whose views take it, at that port.
    Room,
}

impl Kind {
    /// The most that one user may have.
    fn limit(self) -> u32 {
        match self {
            Self::Port => ports_per_user(),
            Self::Connection | Self::Remains => connections_per_user(),
            // The port has a limit of its own for all.
            Self::Pending | Self::Room => u32::MAX,
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

    fn get(&self) -> u32 {
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
    /// The counter. Whoever makes it holds `maker`.
    pub(crate) fn counter(&self, maker: &Mutex<()>) -> Result<Arc<Counter>> {
        self.get_or_make(maker, || Ok(Arc::new(Counter::new(), GFP_KERNEL_ACCOUNT)?))
    }
}

/// Whose an account is, and where.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// 0 for all that the user has, else a port: what the user has there.
    port: usize,
    who: Accountable,
}

/// What one user has. Counters are atomic, nothing else changes.
struct Account {
    key: Key,
    ports: Counter,
    connections: Counter,
    remains: Counter,
    pending: Counter,
    conversations: Counter,
    told: Counter,
    pages: Counter,
    handles: Counter,
    handles_told: Counter,
    room: Counter,
}

impl Account {
    fn new(key: Key) -> Self {
        Self {
            key,
            ports: Counter::new(),
            connections: Counter::new(),
            remains: Counter::new(),
            pending: Counter::new(),
            conversations: Counter::new(),
            told: Counter::new(),
            pages: Counter::new(),
            handles: Counter::new(),
            handles_told: Counter::new(),
            room: Counter::new(),
        }
    }

    #[inline]
    fn counter(&self, kind: Kind) -> &Counter {
        match kind {
            Kind::Port => &self.ports,
            Kind::Connection => &self.connections,
            Kind::Remains => &self.remains,
            Kind::Pending => &self.pending,
            Kind::Conversation => &self.conversations,
            Kind::Told => &self.told,
            Kind::Page => &self.pages,
            Kind::Handle => &self.handles,
            Kind::HandleTold => &self.handles_told,
            Kind::Room => &self.room,
        }
    }
}

/// An account in the table, and how many hold it open.
struct Listed {
    account: Arc<Account>,
    holders: usize,
}

/// The accounts of all users that have anything.
#[pin_data]
pub(crate) struct Accounts {
    /// Pages of views of all users.
    pages: Counter,
    /// Taken when a charger is made and when it goes, never to charge.
    #[pin]
    table: Mutex<RBTree<Key, Listed>>,
}

impl Accounts {
    /// No accounts.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                pages: Counter::new(),
                table <- new_mutex!(RBTree::new(), "Accounts::table"),
            }),
            GFP_KERNEL,
        )
    }

    /// The account of a user, listed until the result is dropped.
    fn open(this: &Arc<Self>, key: Key) -> Result<OpenAccount> {
        let new = Arc::new(Account::new(key), GFP_KERNEL_ACCOUNT)?;
        let node = RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?;
        let mut table = this.table.lock();
        let account = match table.entry(key) {
            Entry::Occupied(mut entry) => {
                let listed = entry.get_mut();
                listed.holders = listed.holders.checked_add(1).ok_or(EDQUOT)?;
                listed.account.clone()
            }
            Entry::Vacant(entry) => {
                let account = new.clone();
                let listed = Listed {
                    account: new,
                    holders: 1,
                };
                entry.insert(listed, node);
                account
            }
        };
        drop(table);
        Ok(OpenAccount {
            accounts: this.clone(),
            account,
        })
    }

    /// Undoes one [`open`](Self::open).
    fn close(&self, key: Key) {
        let mut table = self.table.lock();
        let Some(mut entry) = table.find_mut(&key) else {
            return;
        };
        let listed = entry.get_mut();
        listed.holders = listed.holders.saturating_sub(1);
        if listed.holders == 0 {
            entry.remove_node();
        }
    }
}

/// An account that stays in the table as long as this exists.
struct OpenAccount {
    accounts: Arc<Accounts>,
    account: Arc<Account>,
}

impl Drop for OpenAccount {
    fn drop(&mut self) {
        self.accounts.close(self.account.key);
    }
}

/// The accounts that something is charged to: one task's, at the time when this was made.
///
/// Dropping it takes a mutex, so it must not be dropped under a spinlock.
pub(crate) struct Charger {
    accounts: Arc<Accounts>,
    chain: KVec<OpenAccount>,
    /// Of the accounts at a port. Goes last: its address is in their key.
    room: Option<Arc<Counter>>,
}

impl Charger {
    /// The accounts of the current task. `ENOMEM` if there is no memory for them.
    pub(crate) fn for_current(accounts: &Arc<Accounts>) -> Result<Arc<Self>> {
        let mut charger = Self::empty(accounts);
        for_each_accountable(|who| charger.add(Key { port: 0, who }))?;
        Ok(Arc::new(charger, GFP_KERNEL_ACCOUNT)?)
    }

    /// The accounts of the current task at one port, whose owner has none there. `room` is what
    /// all have taken of the port's window.
    pub(crate) fn for_current_at(
        accounts: &Arc<Accounts>,
        room: &Arc<Counter>,
        owner: &Identity,
    ) -> Result<Arc<Self>> {
        // It is kept as long as the accounts, so its address tells the port apart.
        let port = Arc::as_ptr(room).addr();
        let mut charger = Self::empty(accounts);
        charger.room = Some(room.clone());
        for_each_accountable_to(owner, |who| charger.add(Key { port, who }))?;
        Ok(Arc::new(charger, GFP_KERNEL_ACCOUNT)?)
    }

    fn empty(accounts: &Arc<Accounts>) -> Self {
        Self {
            accounts: accounts.clone(),
            chain: KVec::new(),
            room: None,
        }
    }

    /// A user that answers twice, as an owner of nested namespaces, still pays once.
    fn add(&mut self, key: Key) -> Result {
        if !self.chain.iter().any(|open| open.account.key == key) {
            let open = Accounts::open(&self.accounts, key)?;
            self.chain.push(open, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(())
    }

    /// The table that the accounts are in.
    pub(crate) fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// Charges `count` to every account, or `EDQUOT` and to none.
    #[inline]
    fn try_charge(&self, kind: Kind, count: u32) -> Result {
        let charged = match self.common(kind) {
            None => quota::take_all(self.counters(kind), count, kind.limit()),
            Some(common) => self.try_share(kind, count, common),
        };
        charged.then_some(()).ok_or(EDQUOT)
    }

    /// The same with something that all users have together.
    fn try_share(&self, kind: Kind, count: u32, (all, capacity): (&Counter, u32)) -> bool {
        if !quota::Account::try_take(all, count, capacity) {
            return false;
        }
        // Who has most has no more than is left for others.
        let left = capacity.saturating_sub(all.get());
        let fits = quota::take_all(self.counters(kind), count, kind.limit().min(left));
        if !fits {
            quota::Account::give_back(all, count);
        }
        fits
    }

    /// Gives back what [`try_charge`](Self::try_charge) charged.
    #[inline]
    fn uncharge(&self, kind: Kind, count: u32) {
        quota::give_back_all(self.counters(kind), count);
        if let Some((all, _)) = self.common(kind) {
            quota::Account::give_back(all, count);
        }
    }

    /// What all users have of a kind together, and the most that they may have.
    #[inline]
    fn common(&self, kind: Kind) -> Option<(&Counter, u32)> {
        match kind {
            Kind::Page => Some((&self.accounts.pages, view_pages())),
            Kind::Room => Some((self.room.as_ref()?, window::ROOM)),
            _ => None,
        }
    }

    /// How many of a kind that one has who has most.
    pub(crate) fn most(&self, kind: Kind) -> u32 {
        self.counters(kind).map(Counter::get).max().unwrap_or(0)
    }

    /// Whether another one of a kind would be within the limit.
    pub(crate) fn has_room(&self, kind: Kind) -> bool {
        self.most(kind) < kind.limit()
    }

    #[inline]
    fn counters(&self, kind: Kind) -> impl Iterator<Item = &Counter> + Clone {
        self.chain
            .iter()
            .map(move |open| open.account.counter(kind))
    }
}

/// So many of a kind, charged until somebody says that they have ended, or as long as this exists.
pub(crate) struct Charge {
    charger: Arc<Charger>,
    count: u32,
    kind: Kind,
    ended: Atomic<bool>,
}

impl Charge {
    /// Charges one to every account of the charger, or `EDQUOT` and to none.
    pub(crate) fn new(charger: &Arc<Charger>, kind: Kind) -> Result<Self> {
        Self::several(charger, kind, 1)
    }

    /// The same with `count` of them.
    pub(crate) fn several(charger: &Arc<Charger>, kind: Kind, count: u32) -> Result<Self> {
        charger.try_charge(kind, count)?;
        Ok(Self::taken(charger, kind, count))
    }

    /// Charges one above every limit: for what is there already, and can't be refused.
    pub(crate) fn beyond(charger: &Arc<Charger>, kind: Kind) -> Self {
        // No more exist than memory has room for, far below the limit of the number.
        quota::take_all(charger.counters(kind), 1, u32::MAX);
        Self::taken(charger, kind, 1)
    }

    fn taken(charger: &Arc<Charger>, kind: Kind, count: u32) -> Self {
        Self {
            charger: charger.clone(),
            count,
            kind,
            ended: Atomic::new(false),
        }
    }

    /// Gives it back now. It may be called by many and often.
    pub(crate) fn end(&self) {
        if !self.ended.xchg(true, Relaxed) {
            self.charger.uncharge(self.kind, self.count);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.end();
    }
}
