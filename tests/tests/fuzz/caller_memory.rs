// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory that callers offer, and holders use.

use super::*;

/// What one range has, mostly.
const LENGTH: usize = 4096;

/// Ranges that are offered, damaged ones among them.
pub struct Offered(Ranges);

impl Offered {
    /// Their container's address, for as long as they live.
    pub fn container(&mut self) -> u64 {
        self.0.address()
    }
}

impl Player<'_> {
    /// A few ranges of this player's memory, as a rule.
    pub fn ranges(&mut self) -> Offered {
        let mut list = Vec::new();
        for _ in 0..=self.rng.below(3) {
            let access = match self.rng.below(10) {
                0 => self.rng.below(5) as u32,
                _ => ALPC_MEMORY_READ | ALPC_MEMORY_WRITE,
            };
            let length = match self.rng.below(10) {
                // No more than this player has: a holder may write all of it.
                0 => self.length().min(ALPC_MESSAGE_MAX) as usize,
                _ => LENGTH,
            };
            list.push((self.address(), length, access));
        }
        let mut ranges = Ranges::of(&list);
        let count = ranges.container.memory.count;
        self.damage(&mut ranges.container.memory);
        // The kernel shall look only at what is a list.
        ranges.container.memory.ranges = ranges.list.as_ptr() as u64;
        ranges.container.memory.count = ranges.container.memory.count.min(count);
        Offered(ranges)
    }

    /// Reads or writes what the sender of this offers, if it does.
    pub fn caller_memory(&mut self, header: &Header) {
        let port = self.port_for(header);
        self.caller_memory_on(&*port, header.id, header.turn);
    }

    /// Waits for a while in a call that offers memory.
    pub fn offer(&mut self) {
        let ranges = self.ranges();
        let mut call = Transfer::offering(&ranges.0).timeout(5_000_000);
        let _ = call.run(&self.offers.client);
    }

    /// Uses memory of such a call, in several ways, and ends that.
    pub fn use_offer(&mut self) {
        let port = &self.offers.port;
        let Ok(message) = port.receive_now() else {
            return;
        };
        for _ in 0..4 {
            self.caller_memory_on(port, message.id, message.callback_id);
        }
        let _ = port.release(&message);
    }

    fn caller_memory_on(&mut self, port: &impl AsFd, id: u64, turn: u32) {
        let mut arg = alpc_memory {
            id,
            callback_id: turn,
            data: self.address(),
            length: self.rng.below(LENGTH as u64),
            index: self.rng.below(2) as u32,
            flags: match self.rng.below(8) {
                0 => self.rng.below(8) as u32,
                1..=4 => ALPC_MEMORY_READ,
                _ => ALPC_MEMORY_WRITE,
            },
            ..Default::default()
        };
        if self.rng.one_in(4) {
            arg.offset = self.rng.below(2 * LENGTH as u64);
        }
        let data = arg.data;
        self.damage(&mut arg);
        // The kernel shall write into memory that is there for it, or nowhere.
        (arg.data, arg.length) = (data, arg.length.min(LENGTH as u64 + 1));
        arg.timeout = self.timeout(&mut arg.timeout_flags);
        if self.rng.one_in(3) {
            (arg.timeout, arg.timeout_flags) = (0, 0);
            arg.flags |= ALPC_MEMORY_NOWAIT;
        }
        self.call("MEMORY", port, ALPC_IOCTL_MEMORY, &mut arg);
    }
}
