// SPDX-License-Identifier: MIT OR Apache-2.0

//! An attribute container: the head, and one structure for each attribute that is
//! allocated, the highest bit first.

use super::{
    alpc_attr_context, alpc_attr_handle, alpc_attr_memory, alpc_attr_receiver, alpc_attr_security,
    alpc_attr_token, alpc_attr_view, alpc_attributes, ALPC_ATTR_CONTEXT, ALPC_ATTR_HANDLE,
    ALPC_ATTR_MEMORY, ALPC_ATTR_RECEIVER, ALPC_ATTR_SECURITY, ALPC_ATTR_TOKEN, ALPC_ATTR_VIEW,
};

/// Words of the head and of every structure there is.
const WORDS: usize = (size_of::<alpc_attributes>()
    + size_of::<alpc_attr_security>()
    + size_of::<alpc_attr_view>()
    + size_of::<alpc_attr_context>()
    + size_of::<alpc_attr_handle>()
    + size_of::<alpc_attr_token>()
    + size_of::<alpc_attr_memory>()
    + size_of::<alpc_attr_receiver>())
    / size_of::<u64>();

/// The attributes to be allocated, and the words of a container that has just these.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Container {
    pub(super) security: Option<alpc_attr_security>,
    pub(super) view: Option<alpc_attr_view>,
    pub(super) context: Option<alpc_attr_context>,
    pub(super) handle: Option<alpc_attr_handle>,
    pub(super) token: Option<alpc_attr_token>,
    pub(super) memory: Option<alpc_attr_memory>,
    pub(super) receiver: Option<alpc_attr_receiver>,
    words: [u64; WORDS],
}

/// Two halves of a word, in the order of memory.
fn word(first: u32, second: u32) -> u64 {
    let [a, b, c, d] = first.to_ne_bytes();
    let [e, f, g, h] = second.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// The two halves of a word, as they are in memory.
fn halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    (
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    )
}

impl Container {
    fn allocated(&self) -> u32 {
        let bits = [
            (self.security.is_some(), ALPC_ATTR_SECURITY),
            (self.view.is_some(), ALPC_ATTR_VIEW),
            (self.context.is_some(), ALPC_ATTR_CONTEXT),
            (self.handle.is_some(), ALPC_ATTR_HANDLE),
            (self.token.is_some(), ALPC_ATTR_TOKEN),
            (self.memory.is_some(), ALPC_ATTR_MEMORY),
            (self.receiver.is_some(), ALPC_ATTR_RECEIVER),
        ];
        bits.iter()
            .filter(|(has, _)| *has)
            .map(|(_, bit)| bit)
            .sum()
    }

    /// Where the container is, to be sent: all that is allocated is valid. 0 if nothing is.
    pub(super) fn for_sending(&mut self) -> u64 {
        let allocated = self.allocated();
        self.write(allocated, allocated)
    }

    /// Where it is, to be filled in. 0 if nothing is allocated.
    pub(super) fn for_receiving(&mut self) -> u64 {
        let allocated = self.allocated();
        self.write(allocated, 0)
    }

    fn write(&mut self, allocated: u32, valid: u32) -> u64 {
        if allocated == 0 {
            return 0;
        }
        let security = self
            .security
            .map(|a| [a.context, word(a.security, a.flags)]);
        let view = self
            .view
            .map(|a| [a.base, a.size, a.release, word(a.flags, a.reserved)]);
        let context = self.context.map(|a| {
            let last = word(a.callback_id, a.reserved);
            [a.port_context, a.message_context, a.id, a.sequence, last]
        });
        let handle = self
            .handle
            .map(|a| [a.handles, word(a.count, a.flags), word(a.index, a.error)]);
        let token = self
            .token
            .map(|a| [a.token_id, a.session_id, a.modified_id]);
        let memory = self.memory.map(|a| [a.ranges, word(a.count, a.reserved)]);
        let receiver = self
            .receiver
            .map(|a| [word(a.uid, a.gid), word(a.flags, a.reserved)]);
        let words = std::iter::once(word(allocated, valid))
            .chain(security.into_iter().flatten())
            .chain(view.into_iter().flatten())
            .chain(context.into_iter().flatten())
            .chain(handle.into_iter().flatten())
            .chain(token.into_iter().flatten())
            .chain(memory.into_iter().flatten())
            .chain(receiver.into_iter().flatten());
        for (to, from) in self.words.iter_mut().zip(words) {
            *to = from;
        }
        self.words.as_mut_ptr() as u64
    }

    /// Reads back what the kernel has filled in. What it has not is none after this.
    pub(super) fn filled(&self) -> Self {
        let mut words = self.words.into_iter();
        let (_, valid) = halves(words.next().unwrap_or(0));
        let mut next = || words.next().unwrap_or(0);
        let security = self.security.map(|_| {
            let (context, last) = (next(), halves(next()));
            alpc_attr_security {
                context,
                security: last.0,
                flags: last.1,
            }
        });
        let view = self.view.map(|_| {
            let (base, size, release, last) = (next(), next(), next(), halves(next()));
            alpc_attr_view {
                base,
                size,
                release,
                flags: last.0,
                reserved: last.1,
            }
        });
        let context = self.context.map(|_| {
            let (port_context, message_context) = (next(), next());
            let (id, sequence, last) = (next(), next(), halves(next()));
            alpc_attr_context {
                port_context,
                message_context,
                id,
                sequence,
                callback_id: last.0,
                reserved: last.1,
            }
        });
        let handle = self.handle.map(|_| {
            let (handles, first, second) = (next(), halves(next()), halves(next()));
            alpc_attr_handle {
                handles,
                count: first.0,
                flags: first.1,
                index: second.0,
                error: second.1,
            }
        });
        let token = self.token.map(|_| alpc_attr_token {
            token_id: next(),
            session_id: next(),
            modified_id: next(),
        });
        let memory = self.memory.map(|_| {
            let (ranges, last) = (next(), halves(next()));
            alpc_attr_memory {
                ranges,
                count: last.0,
                reserved: last.1,
            }
        });
        let receiver = self.receiver.map(|_| {
            let (ids, last) = (halves(next()), halves(next()));
            alpc_attr_receiver {
                uid: ids.0,
                gid: ids.1,
                flags: last.0,
                reserved: last.1,
            }
        });
        Self {
            security: security.filter(|_| valid & ALPC_ATTR_SECURITY != 0),
            view: view.filter(|_| valid & ALPC_ATTR_VIEW != 0),
            context: context.filter(|_| valid & ALPC_ATTR_CONTEXT != 0),
            handle: handle.filter(|_| valid & ALPC_ATTR_HANDLE != 0),
            token: token.filter(|_| valid & ALPC_ATTR_TOKEN != 0),
            memory: memory.filter(|_| valid & ALPC_ATTR_MEMORY != 0),
            receiver: receiver.filter(|_| valid & ALPC_ATTR_RECEIVER != 0),
            words: [0; WORDS],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Container {
        Container {
            security: Some(alpc_attr_security {
                context: 27,
                security: 28,
                flags: 29,
            }),
            view: Some(alpc_attr_view {
                base: 1,
                size: 2,
                release: 3,
                flags: 4,
                reserved: 5,
            }),
            context: Some(alpc_attr_context {
                port_context: 6,
                message_context: 7,
                id: 8,
                sequence: 9,
                callback_id: 10,
                reserved: 11,
            }),
            handle: Some(alpc_attr_handle {
                handles: 12,
                count: 13,
                flags: 14,
                index: 15,
                error: 16,
            }),
            token: Some(alpc_attr_token {
                token_id: 17,
                session_id: 18,
                modified_id: 19,
            }),
            memory: Some(alpc_attr_memory {
                ranges: 20,
                count: 21,
                reserved: 22,
            }),
            receiver: Some(alpc_attr_receiver {
                uid: 23,
                gid: 24,
                flags: 25,
                reserved: 26,
            }),
            words: [0; WORDS],
        }
    }

    #[test]
    fn every_subset_is_laid_out_highest_bit_first_and_read_back() {
        for subset in 0..128 {
            let mut container = full();
            let mut words = 1;
            for (bit, size) in [(0, 4), (1, 5), (2, 3), (3, 3), (4, 2), (5, 2), (6, 2)] {
                if subset & (1 << bit) != 0 {
                    words += size;
                    continue;
                }
                match bit {
                    0 => container.view = None,
                    1 => container.context = None,
                    2 => container.handle = None,
                    3 => container.token = None,
                    4 => container.memory = None,
                    5 => container.receiver = None,
                    _ => container.security = None,
                }
            }
            let expected = format!("{container:?}");
            assert_eq!(container.for_sending() == 0, subset == 0);
            let (allocated, valid) = halves(container.words[0]);
            assert_eq!(allocated, valid);
            assert!(container.words[words..].iter().all(|word| *word == 0));
            assert_eq!(format!("{:?}", container.filled()), expected);
            container.for_receiving();
            let nothing = format!("{:?}", Container::default());
            assert_eq!(format!("{:?}", container.filled()), nothing);
        }
    }
}
