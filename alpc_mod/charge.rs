// SPDX-License-Identifier: GPL-2.0

//! Charging: what is counted for a task is counted for all who answer for it, or for none.
//!
//! A [`Charger`] is the accounts of all who answer for one task, looked up once, when a port or a
//! connection is made: charging is then a few atomic operations, without a lock.
#![deny(unsafe_code)]

use crate::{
    buffer::charged,
    caller::{
        current_euid,
        for_each_accountable,
        for_each_accountable_to,
        Namespace, //
    },
    closing::Lane,
    cred::Identity,
    lazy::Lazy,
    logic::quota,
    quota::{
        view_pages,
        Account,
        Accounts,
        Counter,
        Key,
        Kind, //
    },
    shared::shared,
    window, //
};
use core::mem::size_of;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// An account that stays in the table as long as this exists.
pub(crate) struct OpenAccount {
    accounts: Arc<Accounts>,
    account: Arc<Account>,
}

impl OpenAccount {
    /// One that the table has counted.
    pub(crate) fn new(accounts: &Arc<Accounts>, account: Arc<Account>) -> Self {
        Self {
            accounts: accounts.clone(),
            account,
        }
    }
}

impl Drop for OpenAccount {
    fn drop(&mut self) {
        self.accounts.close(self.account.key);
    }
}

/// Of what a server has to give to all its clients, the part that one user has at most.
const PART: u32 = 8;

/// A port, to the accounts of what users have there. Its address tells it apart from others.
pub(crate) struct Place {
    /// What all have taken of the port's window.
    room: Counter,
    /// Bytes of what the server has sent, and clients have still.
    told: Counter,
    /// The most of these.
    told_most: u32,
    /// The accounts of who made the port, who sends all that.
    maker: Arc<Charger>,
}

impl Place {
    /// A port where nobody has anything.
    pub(crate) fn new(told_most: u32, maker: Arc<Charger>) -> Result<Arc<Self>> {
        let this = Self {
            room: Counter::new(),
            told: Counter::new(),
            told_most,
            maker,
        };
        shared(this)
    }

    /// The accounts of who made the port.
    pub(crate) fn maker(&self) -> &Arc<Charger> {
        &self.maker
    }

    /// Bytes of what the server has sent and clients have still, and the most of these.
    pub(crate) fn told(&self) -> (u32, u32) {
        (self.told.get(), self.told_most)
    }

    /// Whether `told_most` allows one user at least one message that takes so many bytes.
    pub(crate) fn allows(told_most: u32, bytes: u32) -> bool {
        bytes <= told_most / PART
    }
}

/// The accounts that something is charged to: one task's, at the time when this was made. All of
/// them are at the same port, or at none.
///
/// Dropping it takes spinlocks and frees memory, so it must not be dropped under a spinlock.
pub(crate) struct Charger {
    accounts: Arc<Accounts>,
    /// Whose accounts these are: the effective user, as a kernel id, and its user namespace.
    whose: (u32, Namespace),
    chain: KVec<OpenAccount>,
    /// Of accounts at a port: those of the same at all ports of who made it, once any is needed.
    at_maker: Lazy<Arc<Charger>>,
    /// Whether they are such accounts.
    at_all_ports: bool,
    /// Of the accounts at a port. Goes last: its address is in their key, or that of one of its
    /// maker's accounts.
    place: Option<Arc<Place>>,
}

impl Charger {
    /// The accounts of the current task. `ENOMEM` if there is no memory for them.
    pub(crate) fn for_current(accounts: &Arc<Accounts>) -> Result<Arc<Self>> {
        let mut charger = Self::empty(accounts);
        for_each_accountable(|who| charger.add(Key { port: 0, who }))?;
        charger.shared()
    }

    /// The accounts of the current task: `usual`, if these are the same. `ENOMEM`.
    pub(crate) fn of_current(usual: &Arc<Self>) -> Result<Arc<Self>> {
        match usual.is_of_current() {
            true => Ok(usual.clone()),
            false => Self::for_current(&usual.accounts),
        }
    }

    /// Whether they are what the current task would get now: the user and its namespace determine
    /// the others.
    #[inline]
    pub(crate) fn is_of_current(&self) -> bool {
        self.whose == (current_euid(), Namespace::current())
    }

    /// The accounts of the current task at one port, whose owner has none there.
    pub(crate) fn for_current_at(
        accounts: &Arc<Accounts>,
        place: &Arc<Place>,
        owner: &Identity,
    ) -> Result<Arc<Self>> {
        // It is kept as long as the accounts, so its address tells the port apart.
        let port = Arc::as_ptr(place).addr();
        let mut charger = Self::empty(accounts);
        charger.place = Some(place.clone());
        for_each_accountable_to(owner, |who| charger.add(Key { port, who }))?;
        charger.shared()
    }

    fn empty(accounts: &Arc<Accounts>) -> Self {
        Self {
            accounts: accounts.clone(),
            whose: (current_euid(), Namespace::current()),
            chain: KVec::new(),
            at_maker: Lazy::new(),
            at_all_ports: false,
            place: None,
        }
    }

    /// Of accounts at a port: those of the same users at all ports of who made it. `ENOMEM`.
    ///
    /// Made by who charges something to them first: most connections never need them.
    fn at_maker(&self, place: &Arc<Place>) -> Result<Arc<Self>> {
        let make = || {
            // It is kept as long as the accounts, so its address tells the maker apart.
            let maker = place.maker.counted().next().ok_or(EINVAL)?;
            let port = Arc::as_ptr(&maker.account).addr();
            let mut charger = Self::empty(&self.accounts);
            charger.at_all_ports = true;
            charger.place = Some(place.clone());
            for open in self.chain.iter() {
                let who = open.account.key.who;
                charger.add(Key { port, who })?;
            }
            charger.shared()
        };
        self.at_maker.get_or_make(self.accounts.maker(), make)
    }

    /// Makes it one that many can refer to. `ENOMEM`.
    fn shared(self) -> Result<Arc<Self>> {
        shared(self)
    }

    /// A user that answers twice, as an owner of nested namespaces, still pays once.
    ///
    /// The accounts are in one order in all chains: who takes a place of each, and waits for it,
    /// can't wait in a circle with others. The user's own comes first, so that who has to wait there
    /// has taken nothing of what it has together with others.
    fn add(&mut self, key: Key) -> Result {
        let before = |open: &&OpenAccount| open.account.key < key;
        let at = self.chain.iter().filter(before).count();
        if self
            .chain
            .get(at)
            .is_none_or(|open| open.account.key != key)
        {
            let open = Accounts::open(&self.accounts, key)?;
            let size =
                (self.chain.len().saturating_mul(2)).saturating_mul(size_of::<OpenAccount>());
            charged(size, |flags| self.chain.reserve(1, flags))?;
            self.chain
                .insert_within_capacity(at, open)
                .map_err(|_| ENOMEM)?;
        }
        Ok(())
    }

    /// Where what is let go of at their expense runs or waits, in the order to enter them.
    pub(crate) fn lanes(&self) -> impl DoubleEndedIterator<Item = &Lane> {
        self.chain.iter().map(|open| open.account.lane())
    }

    /// One of the [`lanes`](Self::lanes).
    pub(crate) fn lane(&self, index: usize) -> Option<&Lane> {
        Some(self.chain.get(index)?.account.lane())
    }

    /// The accounts that anything is counted in.
    pub(crate) fn counted_accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.counted().map(|open| &open.account)
    }

    /// The table that the accounts are in.
    pub(crate) fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// Charges `count` to every account, or `EDQUOT` and to none.
    #[inline]
    fn try_charge(&self, kind: Kind, count: u32) -> Result {
        if let Some((place, kind, count)) = self.also(kind, count) {
            match self.at_all_ports {
                true => place.maker.try_charge(kind, count)?,
                false => self.at_maker(place)?.try_charge(kind, count)?,
            }
        }
        let charged = match self.common(kind) {
            None => quota::take_all(self.counters(kind), count, self.limit(kind)),
            Some(common) => self.try_share(kind, count, common),
        };
        if charged {
            return Ok(());
        }
        self.uncharge_also(kind, count);
        Err(self.refuse(kind, count))
    }

    /// What is charged along with so many of a kind at a port: at all ports of who made it, and
    /// with that to the maker.
    #[inline]
    fn also(&self, kind: Kind, count: u32) -> Option<(&Arc<Place>, Kind, u32)> {
        let place = self.place.as_ref()?;
        match kind {
            Kind::ToldByte => Some((place, Kind::Told, 1)),
            Kind::Told | Kind::HandleTold => Some((place, kind, count)),
            _ => None,
        }
    }

    /// Gives that back.
    #[inline]
    fn uncharge_also(&self, kind: Kind, count: u32) {
        if let Some((place, kind, count)) = self.also(kind, count) {
            match (self.at_all_ports, self.at_maker.get()) {
                (true, _) => place.maker.uncharge(kind, count),
                (false, Some(there)) => there.uncharge(kind, count),
                (false, None) => {}
            }
        }
    }

    /// The most that one user may have.
    #[inline]
    fn limit(&self, kind: Kind) -> u32 {
        match (kind, &self.place) {
            (Kind::ToldByte, Some(place)) => place.told_most / PART,
            (Kind::Told | Kind::HandleTold, Some(_)) => kind.limit() / PART,
            _ => kind.limit(),
        }
    }

    /// Notes who could not have more: whose account is full, or who asks for what all have together.
    #[cold]
    fn refuse(&self, kind: Kind, count: u32) -> Error {
        let is_full = |open: &&OpenAccount| {
            let used = open.account.used(kind);
            used.saturating_add(count) > self.limit(kind)
        };
        if let Some(open) = self.counted().find(is_full).or(self.chain.first()) {
            open.account.refuse(kind);
        }
        EDQUOT
    }

    /// The same with something that all users have together.
    fn try_share(&self, kind: Kind, count: u32, (all, capacity): (&Counter, u32)) -> bool {
        if !quota::Account::try_take(all, count, capacity) {
            return false;
        }
        // Who has most has no more than is left for others.
        let left = capacity.saturating_sub(all.get());
        let fits = quota::take_all(self.counters(kind), count, self.limit(kind).min(left));
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
        self.uncharge_also(kind, count);
    }

    /// What all users have of a kind together, and the most that they may have.
    #[inline]
    fn common(&self, kind: Kind) -> Option<(&Counter, u32)> {
        match kind {
            Kind::Page => Some((self.accounts.all_pages(), view_pages())),
            Kind::Room => Some((&self.place.as_ref()?.room, window::ROOM)),
            Kind::ToldByte => {
                let place = self.place.as_ref()?;
                Some((&place.told, place.told_most))
            }
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

    /// The accounts that anything is counted in, open.
    #[inline]
    fn counted(&self) -> impl Iterator<Item = &OpenAccount> + Clone {
        let is_counted = |open: &&OpenAccount| open.account.key.who.is_counted();
        self.chain.iter().filter(is_counted)
    }

    #[inline]
    fn counters(&self, kind: Kind) -> impl Iterator<Item = &Counter> + Clone {
        self.counted().map(move |open| open.account.counter(kind))
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

    /// Whether it is for what a server has sent.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self.kind, Kind::ToldByte)
    }

    /// Whether it has been given back.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
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
