// SPDX-License-Identifier: GPL-2.0

//! The TOKEN attribute: numbers by which a receiver recognises who sends again.
//!
//! A number means something as long as what it stands for can't be mistaken for something
//! else. So each connection remembers who has sent on it, with references: credentials
//! that are compared are never new ones at an old address. It remembers so many and no
//! more, and each number is given once on the whole system: whoever has been forgotten gets new
//! ones, and nobody ever gets those of another.
#![deny(unsafe_code)]

use crate::{
    cred::Identity,
    secret,
    shared::vec_of, //
};
use core::{
    mem::{
        replace,
        swap, //
    },
    sync::atomic::{
        AtomicU64,
        Ordering, //
    }, //
};
use kernel::{
    new_spinlock,
    prelude::*,
    sync::SpinLock, //
};

/// How many senders a connection remembers: some threads with credentials of their own, on
/// either side. Who is remembered keeps kernel memory of its own user's.
const SENDERS: usize = 16;

/// How many numbers have been given. 64 bits are not used up.
static GIVEN: AtomicU64 = AtomicU64::new(0);

/// A number that was not given before. It says nothing of how many were, so a receiver can't
/// count who sends elsewhere.
fn next() -> u64 {
    loop {
        // 0 stands for no token.
        match secret::disguise(GIVEN.fetch_add(1, Ordering::Relaxed)) {
            0 => {}
            number => return number,
        }
    }
}

/// What a sender is recognised by.
#[derive(Clone, Copy)]
pub(crate) struct Token {
    /// Its process.
    pub(crate) process: u64,
    /// Its process with the credentials that it has.
    pub(crate) credentials: u64,
}

struct Sender {
    who: Identity,
    token: Token,
    /// Grows with every use.
    used: u64,
}

/// The senders that are remembered.
struct Table {
    /// No memory, or room for all.
    senders: KVec<Sender>,
    /// How often one was looked for.
    uses: u64,
}

impl Table {
    /// The token of a sender that is remembered.
    fn find(&mut self, who: &Identity) -> Option<Token> {
        self.uses = self.uses.wrapping_add(1);
        let is_same = |sender: &&mut Sender| sender.who.has_credentials_of(who);
        let sender = self.senders.iter_mut().find(is_same)?;
        sender.used = self.uses;
        Some(sender.token)
    }

    /// The number of a process, if a sender of it is remembered.
    fn process(&self, who: &Identity) -> Option<u64> {
        let is_same = |sender: &&Sender| sender.who.is_process_of(who);
        let sender = self.senders.iter().find(is_same)?;
        Some(sender.token.process)
    }

    /// Remembers a sender. Gives back who is forgotten for it.
    fn add(&mut self, sender: Sender) -> Option<Sender> {
        match self.senders.len() {
            SENDERS.. => {
                let oldest = self.senders.iter_mut().min_by_key(|sender| sender.used);
                oldest.map(|oldest| replace(oldest, sender))
            }
            // The table has room, so nothing is allocated and nothing fails.
            _ => {
                let _ = self.senders.push_within_capacity(sender);
                None
            }
        }
    }
}

/// The senders that a connection remembers.
#[pin_data]
pub(crate) struct Tokens {
    #[pin]
    table: SpinLock<Table>,
}

impl Tokens {
    /// Nobody.
    pub(crate) fn new() -> impl PinInit<Self> {
        let table = Table {
            senders: KVec::new(),
            uses: 0,
        };
        pin_init!(Self {
            table <- new_spinlock!(table, "Tokens::table"),
        })
    }

    /// The token of a sender. `ENOMEM`.
    pub(crate) fn token(&self, who: &Identity) -> Result<Token> {
        let mut table = self.table.lock();
        if let Some(token) = table.find(who) {
            return Ok(token);
        }
        let has_room = table.senders.capacity() > 0;
        drop(table);
        // All that may be needed is made now, and what is not needed dropped, with no lock held.
        let mut room = match has_room {
            true => KVec::new(),
            false => vec_of(SENDERS)?,
        };
        let mut sender = Sender {
            who: who.clone(),
            token: Token {
                process: next(),
                credentials: next(),
            },
            used: 0,
        };
        let mut table = self.table.lock();
        if let Some(token) = table.find(who) {
            // Another thread has remembered it meanwhile.
            drop(table);
            return Ok(token);
        }
        if let Some(process) = table.process(who) {
            sender.token.process = process;
        }
        if table.senders.capacity() == 0 {
            swap(&mut table.senders, &mut room);
        }
        sender.used = table.uses;
        let token = sender.token;
        let forgotten = table.add(sender);
        drop(table);
        drop(forgotten);
        Ok(token)
    }
}
