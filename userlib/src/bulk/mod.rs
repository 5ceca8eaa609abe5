// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bytes of any length in one message, by whichever way suits them.
//!
//! | bytes | way | who copies | where the receiver reads them |
//! | --- | --- | --- | --- |
//! | up to the port's largest message | [`Way::Inline`] | the kernel | in a vector |
//! | up to [`VIEW_MOST`] | [`Way::View`] | the sender, into a view | where they are |
//! | more, with a [call](Caller::call) | [`Way::Memory`] | the receiver, out of the caller's memory | in a vector |
//!
//! A [`Caller`] calls and sends, a [`Receiver`] receives, an [`Outbox`] replies; each thread has its
//! own. The bytes come as [`Bytes`], which deref to `[u8]` wherever they are.
//!
//! What is sent is an ordinary message without any framing of this module's: its bytes are its
//! view, if it has one, else the memory that it lends, else its payload. So the other side may as
//! well use the rest of this crate, or C.
//!
//! ```no_run
//! use std::collections::HashMap;
//!
//! use alpc::bulk::{Outbox, Received, Receiver};
//! use alpc::{Accept, NoticeKind, Options, PortBuilder, ServerPort};
//!
//! let server = PortBuilder::new("demo/count").take_views().take_memory().create()?;
//! let (mut receiver, mut outbox) = (Receiver::new(&server)?, Outbox::new(&server)?);
//! let mut clients: HashMap<u64, ServerPort> = HashMap::new();
//! let mut next = 0;
//! loop {
//!     let replied = match receiver.receive()? {
//!         Received::Request(message, turn) => {
//!             let zeroes = message.bytes.iter().filter(|&&byte| byte == 0).count();
//!             let back = message.bytes.give_back();
//!             let options = Options::new().give_back(&back);
//!             outbox.reply_with(turn, zeroes.to_string().as_bytes(), options)
//!         }
//!         // Its memory did not come in time, is too much, or is not there at all.
//!         Received::Unread(unread, turn) => {
//!             eprintln!("a request of process {}: {}", unread.sender.pid, unread.error);
//!             outbox.reply(turn, b"unreadable")
//!         }
//!         Received::Other(alpc::Received::Connection(request)) => {
//!             next += 1;
//!             // Who has gone meanwhile, or for whom there is no descriptor, is not accepted.
//!             if let Ok(port) = request.accept_with(Accept::new().context(next)) {
//!                 clients.insert(next, port);
//!             }
//!             Ok(())
//!         }
//!         Received::Other(alpc::Received::Notice(notice)) => {
//!             if notice.kind() == NoticeKind::PortClosed {
//!                 clients.remove(&notice.port_context());
//!             }
//!             Ok(())
//!         }
//!         _ => Ok(()),
//!     };
//!     if let Err(failed) = replied {
//!         // Whoever asked has gone, or takes no such reply: that is no concern of others.
//!         eprintln!("{failed}");
//!     }
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), alpc::Error>(())
//! ```
//!
//! Its client:
//!
//! ```no_run
//! use alpc::{bulk::Caller, ConnectBuilder};
//!
//! let client = ConnectBuilder::new("demo/count").take_views().connect()?;
//! let zeroes = Caller::new(&client)?.call(&vec![0; 100_000_000])?;
//! assert_eq!(&zeroes[..], b"100000000");
//! # Ok::<(), alpc::Error>(())
//! ```
//!
//! # Memory that does not come
//!
//! A caller can lend memory whose pages come late, or never. A [`Receiver`] waits for them no longer
//! than its [`memory_time`](Receiver::memory_time), and for none of them after
//! [`Options::nonblocking`](crate::Options::nonblocking). Then it yields
//! [`Received::Unread`], and the next receive goes on with the next message.
//!
//! Each request may cost the receiver's thread that time, and hostile callers can send one after
//! another. By default the time is a second, and a second more for each 16 MiB that the request
//! lends to be read. A server with many callers has these ways to keep the others from waiting:
//!
//! * It serves from several threads, each with a [`Receiver`] of its own.
//! * It receives with [`Options::nonblocking`](crate::Options::nonblocking), and answers what is
//!   [`Received::Unread`] with errno `EAGAIN` by a refusal.
//! * It receives with [`Port::receive_with`](crate::Port::receive_with) and
//!   [`Options::ask_memory`](crate::Options::ask_memory), reads nonblocking first, and puts off what
//!   would wait: another thread reads the memory of a [`Request`](crate::Request) that is kept.
//!
//! # Why these limits
//!
//! A message can be 64 KiB long, and up to there inline takes the fewest instructions of both sides.
//! Beyond that a view does, for a receiver that hands on new memory with each message, as this one
//! does. Caller memory takes fewer only where it is read into memory that is there. It also has the
//! sender wait, and able to change the bytes while they are read out. So it is for what no view can
//! be made for. The counts are in the table of `tests/benches/README.md` that begins *with a request*, which
//! `make bench` writes.

mod bytes;
mod outbox;
mod reading;
mod receiver;

pub use bytes::{Bytes, Way};
pub use outbox::{Caller, Outbox};
pub use receiver::{Message, Received, Receiver, Unread};

use std::time::Duration;

use crate::sys;

/// What a view can have at most: 64 MiB.
pub const VIEW_MOST: usize = sys::ALPC_SECTION_MAX as usize;

/// What a [`Receiver`] reads out of one caller's memory, unless it is
/// [told otherwise](Receiver::memory_most): 256 MiB.
pub const MEMORY_MOST: usize = 256 << 20;

/// How long a [`Receiver`] waits for the memory of one request at most, unless it is
/// [told otherwise](Receiver::memory_time): a second. To this it adds a second for each 16 MiB that
/// the request lends to be read.
pub const MEMORY_TIME: Duration = Duration::from_secs(1);
