// SPDX-License-Identifier: GPL-2.0

//! The TOKEN attribute: numbers by which a receiver recognises who sends again.
//!
//! A number means something as long as what it stands for can't be mistaken for something
//! else. So each connection remembers who has sent on it, with references: credentials
//! that are compared are never new ones at an old address. It remembers so many and no
//! more, and numbers come from one counter for all that never goes back: whoever has been
//! forgotten gets new ones, and nobody ever gets those of another.
#![deny(unsafe_code)]

use crate::cred::Identity;
use core::sync::atomic::{
    AtomicU64,
    Ordering, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

/// How many senders a connection remembers: some threads with credentials of their own, on
/// either side. Who is remembered keeps kernel memory of its own user's.
const SENDERS: usize = 16;

/// The next number. 64 bits are not used up.
static NEXT: AtomicU64 = AtomicU64::new(1);

fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
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

/// The senders that a connection remembers.
#[pin_data]
pub(crate) struct Tokens {
    #[pin]
    senders: Mutex<KVec<Sender>>,
}

impl Tokens {
    /// Nobody.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            senders <- new_mutex!(KVec::new(), "Tokens::senders"),
        })
    }

    /// The token of a sender. `ENOMEM`.
    pub(crate) fn token(&self, who: &Identity) -> Result<Token> {
        // Dropped when the lock is released.
        let mut forgotten = None;
        let mut senders = self.senders.lock();
        let now = senders.iter().map(|sender| sender.used).max();
        let used = now.unwrap_or(0).wrapping_add(1);
        let is_same = |sender: &&mut Sender| sender.who.has_credentials_of(who);
        if let Some(sender) = senders.iter_mut().find(is_same) {
            sender.used = used;
            return Ok(sender.token);
        }
        let process = senders
            .iter()
            .find(|sender| sender.who.is_process_of(who))
            .map_or_else(next, |sender| sender.token.process);
        let token = Token {
            process,
            credentials: next(),
        };
        let sender = Sender {
            who: who.clone(),
            token,
            used,
        };
        match senders.len() {
            SENDERS.. => {
                if let Some(oldest) = senders.iter_mut().min_by_key(|sender| sender.used) {
                    forgotten = Some(core::mem::replace(oldest, sender));
                }
            }
            _ => senders.push(sender, GFP_KERNEL_ACCOUNT)?,
        }
        drop(senders);
        drop(forgotten);
        Ok(token)
    }
}
