// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reading a caller's memory, and waiting for it for so long only.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::memory::MemoryRange;
use crate::options::Options;

/// So much is read by one call that may wait: what is there behind it takes no time of the waits.
const STEP: usize = 1 << 20;

/// How memory is read.
pub(super) struct Reading {
    /// How long pages may still be waited for. None if nothing is waited for at all.
    pub(super) left: Option<Duration>,
}

impl Reading {
    /// Reads all of a slice. What is there is copied whatever time that takes, since nobody but the
    /// reader has an influence on that. Only waits count.
    pub(super) fn read(&mut self, range: &MemoryRange<'_>, buffer: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let now = Options::new().nonblocking();
            let there = range.read_at_with(done as u64, &mut buffer[done..], now);
            let left = match (there, &mut self.left) {
                (Ok(read), _) => {
                    done += read;
                    continue;
                }
                (Err(error), Some(left)) if error.errno() == libc::EAGAIN => left,
                (Err(error), _) => return Err(error),
            };
            let end = buffer.len().min(done.saturating_add(STEP));
            let begin = Instant::now();
            let come = range.read_at_with(done as u64, &mut buffer[done..end], *left);
            *left = left.saturating_sub(begin.elapsed());
            match come {
                Ok(read) => done += read,
                // A page has come and gone: another try is as good.
                Err(error) if error.errno() == libc::EAGAIN && !left.is_zero() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
