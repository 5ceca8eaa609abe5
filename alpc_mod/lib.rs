// SPDX-License-Identifier: GPL-2.0

//! ALPC for Linux: asynchronous local procedure call ports.
//!
//! # Overview
//!
//! A server makes a *connection port*, clients *connect* to it, and each accepted
//! connection has two *communication ports*, one for each side. A message begins a
//! *conversation*, which goes back and forth between the two sides until one ends
//! it. The server receives what all clients send, and every notice, on the
//! connection port; a server communication port is for what the server begins.
//!
//! ```text
//!   descriptor          descriptor              descriptor         descriptor
//!       │                   │                       │                  │
//!       ▼                   ▼                       ▼                  ▼
//!  ConnectPort ────────►  Port  ◄── Connection ◄─ CommPort          CommPort
//!                          │            ▲  ▲      (Client)          (Server)
//!                          │            │  └───────────────────────────┘
//!                          ▼            │
//!                   Engine: slots    conns
//!                  (conversations)  (connections)
//! ```
//!
//! Everything that changes is in one [`Engine`](logic::engine::Engine) per
//! connection port, under one spinlock: the connections, their conversations, who
//! waits for what. So every race of a reply with a cancel, a timeout, a signal and
//! the end of a connection has an order, and the order decides. The engine is pure:
//! it neither allocates nor sleeps, wakes or drops, and is tested on the host. It
//! leaves what must be done without the lock in an `Effects`, on the caller's stack.
//!
//! A conversation is a *slot* of the engine's table. Its id is the slot's index and
//! a generation that grows with every conversation, and names nothing but together
//! with the connection and the turn. A [`Message`](message::Message) is payload and
//! sender; it does not change while the engine or a reader has it.
//!
//! A thread that waits stands in a [`WaitSet`](wait_set::WaitSet) with a node on its own
//! stack. Whoever has something for it moves that into the node under the lock, and
//! wakes it later: a message passes from hand to hand without a queue, and the woken
//! thread need not take the lock.
//!
//! An answer that nobody waits for is moved into a message that the client has made with its request,
//! and what else a server sends that a client may leave where it is, is charged to the port: see
//! [`told`].
//!
//! What a message carries beside its payload is its [`Cargo`](cargo::Cargo): handles are
//! in [`handle`]. A
//! *view* is memory of the kernel's, which its owner has mapped by the file of a
//! [`Section`](section::Section), and who receives it by that of a
//! [`Window`](window::Window). Both are an [`Arena`](arena::Arena): addresses of which
//! the module decides, page by page, who may touch what is there.
//!
//! ```text
//!   sender's mapping                                  receiver's mapping
//!          │                                                   │
//!          ▼                                                   ▼
//!       Section ─ Arena ─ slot ─► Pages ◄─ slot ─ Arena ─ Window ◄─ Port, CommPort
//!          ▲                                │
//!          └────────────── Loan ◄───────────┴──────── Message (Cargo)
//! ```
//!
//! # Locking
//!
//! Whose threads can hold a lock says who can keep others waiting for it. A spinlock is held with
//! preemption off, so for no longer than the bound; a mutex for as long as its holder gets no
//! processor time, or waits for memory where some is allocated under it. With PREEMPT_RT spinlocks
//! are mutexes too, and nobody is promised anything about waiting.
//!
//! | order | lock | kind, and why | held by threads of | done under it | bound |
//! | --- | --- | --- | --- | --- | --- |
//! | 2 | `mmap_lock` | the kernel's: taken to map, held when a mapping faults, is made or ends | the process; who looks up or brings in pages that are offered, if the lock is free | the kernel's | the process's own, see below |
//! | 3 | `Arena::state` | mutex: page tables are filled and emptied under it | who holds the section's descriptor; for a window, who receives on its port | page tables, slots and mappings are allocated, pages are made present and taken away | none: it is one side's own |
//! | 4 | `i_mmap_rwsem`, page table locks | the kernel's: taken to fill and empty them | as `Arena::state` | | the kernel's |
//! | 5 | `Port::engine` | spinlock: held for some hundred instructions, twice per call | the server, all its clients | references are taken | see below |
//! | 5 | `Loan::state` | spinlock: held while a loan ends, so that no one goes on before it has | the view's owner, its holder, who has the message | counts are given back | the depth of user namespaces |
//! | 6 | `Backing::lending` | spinlock: held while a loan begins or ends | the view's owner, its holder, who has the message | nothing | a few fields |
//! | 6 | `Given::view` | spinlock: held while the sender takes out what is left to be done | who sends the message | nothing | one pointer |
//! | 6 | `Lane::state` | spinlock: held while a job takes or leaves one place, or begins to wait | all who are charged to one account, workers | nothing | one place |
//! | 6 | `Space::last` | spinlock: held while a use of a caller's memory begins, or the last ends | the caller, the holder | nothing | one count |
//! | 5 | a page's own | the kernel's bit, held without being preempted, and only if it is free: while a page of the caller's is written to | the holder, all who map the page | `Memory::gate`, a flag is set | one page |
//! | 6 | `Memory::gate` | spinlock: held while one page is copied, while an errand changes, and by who shuts it | the caller, the holder | up to a page is copied, see below | one page |
//! | 6 | `Port::acl` | spinlock: held while a reference to the list is taken or exchanged | the server, who connects | a reference is taken | one pointer |
//! | 6 | `Port::maker` | spinlock: held while a window or a counter becomes known | the server, all its clients | a reference is taken | one pointer |
//! | 6 | `Names::table` | 64 spinlocks: held while a port is looked for by its name | all users | a reference is taken | the depth of a tree |
//! | 6 | `Accounts::table` | 64 spinlocks: held while an account is looked for, some times per connection | all users | references are taken | the depth of a tree, 16 accounts |
//! | 6 | `Accounts::recent` | spinlock: held while an account stays for the audit records that it has caused | all whom records are about | nothing | three accounts |
//! | 6 | `Contexts::table` | spinlock: held while the security contexts of a side are looked through | both sides of a connection | a reference is taken | 64 contexts |
//! | 6 | `Tokens::table` | spinlock: held while the senders of a connection are looked through | both sides of a connection | nothing | 16 senders |
//! | 6 | `Impersonation::worn` | spinlock: held while a thread's way back is taken out or looked for | that thread, all who have the descriptor | nothing | one pointer |
//! | 6 | the watches of `thread_end.c` | spinlock: held while one enters a table of 1024 chains or leaves it; who looks for one has the RCU read side only | who receives, who closes a port, workers | nothing | who enters looks through one chain: of all threads that are watched, a 1024th |
//! | 6 | `PollHead` | C's wait queue lock: taken by polls and their wake-ups only | all who poll there; who wakes them | the kernel's wake-ups | the registered polls |
//!
//! Under `Port::engine`, the longest that users can drive up, each at most once per hold:
//! [`BARE`](wait_set) waiting receivers and the depth of the tree of all others; 64 connections
//! that are looked at for a query, or 64 conversations for what is lost; the 128 holders of a chain,
//! some times; 16 entries by which a table grows, or 64 of its chunks that a
//! longer list takes over. The depth of a tree is twice the logarithm of how many are in it, some
//! forty for a million. All that ends in numbers (a connection, a port, waits) does so a step at a
//! time, with the lock released in between.
//!
//! As many polls can be registered at a descriptor as `fs.epoll.max_user_watches` lets those have
//! who hold it: as with any file, who wakes them goes through all.
//!
//! No two of these locks are ever held together, and the order says only what would be allowed,
//! except:
//!
//! * `mmap_lock`, `Arena::state` and what the kernel takes below them, in that order. No two
//!   arenas are locked together. Under `Arena::state` nothing is copied from or to user space
//!   and nothing is dropped: a page fault takes it. Memory is allocated under it, and page
//!   tables are, so it may be held for as long as its holder likes: it belongs to those who
//!   hold the arena's file, the owner of a section or the receivers on a window's port. Who
//!   lends a view, borrows it, gives it back or receives it back takes the lock of its own side only.
//! * Under `Arena::state`, `Loan::state` and `Backing::lending`, which is under the first of
//!   them too.
//! * Under `mmap_lock`, `Accounts::table`: the end of a mapping may be that of the last who has a
//!   view's pages or its loan, and so of the accounts that these are charged to.
//! * Under a page's own lock, `Memory::gate`. Under that, the wait queue locks of `Memory::done` and `Memory::free`.
//!
//! Under `Memory::gate` up to a page is copied between a held page of the caller's and the
//! holder's own memory, or by the caller's thread from a buffer to its own memory. These are the
//! only copies from or to user space under a spinlock. Page faults are off, so each ends where the
//! memory isn't there, and the lock is held for a page at most. It is under the lock so that nothing moves once the gate is shut, and under a
//! spinlock so that a holder that gets no processor doesn't keep the caller: it can't be
//! preempted there. PREEMPT_RT makes no such promise.
//!
//! The `mmap_lock` of the caller's memory is a lock that two users share. A holder takes it for
//! reading, and only if it is free: nothing ends a wait for it but death. It has it while it looks
//! up 16 pages that are there, and allocates nothing and brings nothing in meanwhile: what is not
//! there is brought in by the caller's own thread. It isn't preempted with the lock, but with
//! PREEMPT_RT and where the kernel checks for sleep with preemption off. So the caller's waiting
//! thread takes the lock for an errand only if it is free too: behind a thread of its own process
//! that waits for the lock it would wait for such a holder. Where `userfaultfd` has let go of the
//! lock, the kernel takes it again, which only death ends.
//!
//! A page of the caller's that is written to is locked before `Memory::gate` and unlocked after it,
//! by a thread that isn't preempted in between, and only if it isn't locked by another. What marks
//! it dirty there is a flag; to pages where a file system takes part in that, the caller's thread
//! writes by its own mapping.
//!
//! Under `Port::engine` nothing
//! is allocated, copied from or to user space, freed or woken. References to messages,
//! connections and waiting tasks are taken there. They may be given up there too, but
//! never the last one: the table or the caller has another. Under the spinlocks of order 6 nothing
//! is done but what their rows say: what may be needed is allocated before, what was not needed and
//! what has come out is dropped after. No lock is taken in interrupt context.
//!
//! A thread that hands over, the hot path, takes no reference to the task that it wakes:
//! it is in an RCU (read-copy-update) read-side section from before it takes the lock
//! until it has woken it, and the task waited under the lock, so it can't be freed within
//! that.
//!
//! Some work is left to be done after a lock is released, and somebody waits for it. A user's thread
//! can be stopped before it has done that, for as long as it gets no processor time. With PREEMPT_RT
//! nothing keeps it from being stopped. Without, this does:
//!
//! | owed after | what | who waits for it | what keeps the debtor running |
//! | --- | --- | --- | --- |
//! | `Port::engine` | a wake-up of who has been handed something: four threads at most | it sleeps, whatever else comes | a [`Stay`](stay::Stay) from before the unlock on, in [`Port::leave`](port::Port::leave) |
//! | `Port::engine` | the wake-up of a thread that is handed over to | the same | the RCU read-side section of `wait::hand_over`, see above |
//! | `Port::engine` | opening caller memory | who has the message finds it shut | the same `Stay` |
//! | `Port::engine` | a step that serves more threads ([`again`](logic::engine::Effects)) | threads for whom something has come to the front | the same `Stay`, for four steps; then nothing until the next four: the port's next message, or its next receive, serves them as well |
//! | `Port::engine` | the next step of an end | who waits for that connection or at that port | nothing: who ends it could as well not have begun |
//! | `Port::engine` | a wake-up of who polls, of all that poll | who has to look | nothing: each message that is left in a queue wakes them |
//! | `Port::engine` | what the sender sees to of its own views, drops | nobody but the sender: a receiver does what it needs done | nothing: it comes last, and may wait for locks of the sender's |
//! | `Lane::state` | giving a worker to a job that has its places | who waits in that lane | a `Stay` in `Job::advance` |
//! | `Memory::gate` | a wake-up of who waits for an errand | a thread of the holder's that has asked for an errand, until a signal | nothing: errands are done by the caller's thread, so it waits for that in any case |
//!
//! # Field protection
//!
//! | what | by |
//! | --- | --- |
//! | `Engine`, all of it: slots, connections, queues, wait sets | `Port::engine` |
//! | `wait_set::Node` and its hand, but `done` | `Port::engine` until `done` is set, its thread after |
//! | `wait_set::Node::done` | set once, release; read by its thread, acquire |
//! | `Message`, but `kept`, `room` and its cargo | written by its only owner, constant once sent |
//! | `Message::kept` | whoever has taken the message out of its `Spare` |
//! | `Message::room` | as any `Spare`; of a message in the table it is taken under `Port::engine` |
//! | `Spare` | its one pointer is exchanged whole |
//! | `Port::by_end`, `Connection::held` | set before what they tell of is noted, and never unset; looked at after a descriptor has left its table |
//! | `Port::acl`, which list it is | its lock; a list is constant |
//! | `CommPort::index`, `request` | set before its descriptor exists, constant then |
//! | `Port::inode` | set once, before its descriptor exists or anybody can find it |
//! | `Connection::accepted` | set once, before the client can learn that it is accepted |
//! | `Connection::remains` | set once, by the release of the client's end |
//! | `Memory::gate`, what is in it | its lock |
//! | `Space`: the end of its last use | `Space::last` |
//! | `Memory::wanted`, `unwanted` | written under `Memory::gate`; else hints, which the caller's thread looks at |
//! | `Memory::open`, `turn` | written under `Memory::gate`; else a hint, which says since when pages are the caller's |
//! | the caller's pages | held by a thread of the holder's, touched under `Memory::gate` only |
//! | `Memory`, else | constant |
//! | `Port`, `Connection`, `CommPort`, else | constant |
//! | `Message::cargo` | written by its only owner, constant once sent, emptied by its only owner |
//! | a thread's credentials | changed by itself only, in a system call or by the end of a file of its |
//! | `Impersonation::worn` | its lock |
//! | `Contexts` | `Contexts::table` |
//! | `Listed::holders`, and whether an account is listed | `Accounts::table`, its tree |
//! | `Context::revoked` | set once, and nothing goes with it; looked at at each use |
//! | `Context`, else | constant |
//! | `Arena`: slots and mappings | `Arena::state` |
//! | page table entries of an arena's mappings | made and removed under `Arena::state` only, or by the end of the mapping |
//! | `Pages` | constant; freed when no slot and no loan has them |
//! | a backing's loans, and whether its owner has access | `Backing::lending`; the latter is set under `Arena::state` only, and read there |
//! | `Loan`: whether it has ended, and whence it came | `Loan::state` |
//! | `Arena`: counts of views and pages | written under `Arena::state`, read without |
//! | `Given::view` | its lock; taken out once, by the sender |
//! | `Lane`: places and who waits | `Lane::state` |
//! | `Job` | its only owner: who has the message, a lane, the work queue, the worker |
//! | `Tokens::table` | its lock |
//! | `Recorded`, `Allowance` | atomic; two threads may both record the same |
//! | counters of `quota` | atomic, checked before they change |
//!
//! # States
//!
//! A connection ([`Phase`](logic::engine::Phase)):
//!
//! ```text
//!            connect               accept                 either side ends it
//!   Free ──────────────► Pending ──────────────► Open ─────────────────────► Ended
//!     ▲                     │ refuse, or the port closes                       │
//!     │                     ├─────────────────────────────► Refused            │
//!     │                     │ the client leaves                │               │
//!     │                     └──────────────────────────────────┼──► Ended      │
//!     └────────── no descriptor, no slot, no notice left ──────┴───────────────┘
//! ```
//!
//! A port without a name has a count of what leads to it: connect descriptors, and connections that
//! are pending or open. An end that takes steps counts until its last, which is behind all that it
//! queues. A receive that finds nothing queued and no way left is told so; so is who waits, by
//! whoever takes the last away. Named ports count none of their descriptors, and are never there.
//!
//! A conversation: see [`logic::engine`]. At most one thread waits for a
//! conversation, on the side that has not the turn. Whatever ends a conversation
//! hands that thread the reason, and leaves a notice to a side that knows of the
//! conversation and does not wait. A notice uses the conversation's own slot, the
//! closing notice a flag of the connection: neither can fail for want of memory.
//!
//! A view ([`view`]) is its owner's, under way, or held. Only the holder ends the last. While it
//! sends a message that the view goes back with ([`Given`](window::Given)), no other thread does.
//!
//! Caller memory (`memory`) is open or shut:
//!
//! ```text
//!            its process waits for the conversation
//!   Shut ─────────────────────────────────────────────► Open, to the holder at one turn
//!     ▲                                                   │
//!     └── the wait is over, for whatever reason: reply, ──┘
//!         callback, timeout, signal, cancel, end, death
//! ```
//!
//! It is opened before the message is sent that lets the other side use it, and shut
//! before the call returns, by the thread that waits. A copy that goes on over several
//! pages finds it shut at the next one.
//!
//! Pages that are not there are an errand for the thread that waits, and so is what is written to a
//! mapping of a stored file. A second thread of the holder's waits until there is none:
//!
//! ```text
//!   None      → Wanted      a thread of the holder's asks
//!   Wanted    → None        that thread leaves: its time, a signal, the gate is shut
//!   Wanted    → Begun       the caller's thread starts
//!   Begun     → Wanted      the caller's thread was interrupted, and looks at its wait first
//!   Begun     → Done        the pages are there, or written to, or can't be
//!   Done      → None        the holder's thread takes what has come of it
//!   Begun     → Abandoned   the holder's thread leaves
//!   Abandoned → None        the caller's thread returns, and drops what it has
//! ```
//!
//! # What keeps what
//!
//! * A file keeps its object, and the module. A request holds the file, so a wait
//!   goes on when its descriptor is closed, and no object goes while it is used.
//! * A `Port` keeps its inode, also when its file has gone: who has found the port by its name may
//!   still ask the security module. Nothing in the inode is the module's.
//! * A `CommPort` keeps its `Connection`, a `Connection` its `Port`. The engine keeps
//!   the `Connection` of each entry until the entry is free. That circle is opened by
//!   the release of the two files, which every path below ends in.
//! * A message keeps the files it carries, of kinds which keep no file themselves: so
//!   no file keeps a port but its own. Who drops a message gives them up, and leaves
//!   the last reference to a [worker](closing), which holds the module.
//! * A connection keeps the security contexts of each side, until that side's communication
//!   port is closed. A message keeps its context, and the side's table if it deletes it there.
//! * An [`Impersonation`](impersonate::Impersonation) keeps its thread's structure, the
//!   credentials that the thread had, and those it has taken on; neither port nor message.
//! * The entry of a thread that holds conversations keeps its watch, and that the `Port`, until the
//!   thread has ended or the file is released by which the thread receives. A table of
//!   descriptors and a thread are kept by nobody: they are numbers, looked at only in a
//!   call of their own or while the kernel closes one of the table's descriptors.
//! * The table of names keeps a named port until the port is shut.
//! * A mapping of an arena keeps its file, and that the `Section` or `Window`. A `Loan`
//!   keeps the view's `Backing` and the accounts that it is charged to, until it has ended,
//!   but neither the section nor the connection; a message that carries it keeps the
//!   `Loan`, and so does the slot of who holds the view. The holder's `Window`, of a view
//!   that goes back, and the owner's section, of one that its message deletes, are kept
//!   with the message until its sender's call is over, and let go of by the sender. A slot
//!   of a window is never without a mapping, so what it keeps goes with the process at the
//!   latest.
//! * A `Message` keeps its `Memory`, and so does a message that follows it on the same
//!   side of the conversation. A `Memory` keeps the structure of the address space, not
//!   what is in it: that is kept by the caller's thread while the gate is open, and by
//!   who looks up pages, for as long as that takes. If that is the
//!   last to keep it, a [worker](closing) ends it, for whoever used it can't be made to.
//!
//! # Removal
//!
//! * A. *Conversation*: by its final reply, release, cancel, timeout or the end of
//!   its connection, under the lock. The slot is free, or idle in the hands of the
//!   thread that takes the last message out, which frees it or keeps it for the next
//!   message of its side.
//! * B. *Connection*: `disconnect` sets the phase under the lock, so that nothing is
//!   added behind it, and then ends waits and conversations a step at a time, acting
//!   between the steps with no lock held. Two that do this at the same time do no
//!   harm. A communication port's release does the same, gives its kept slot back,
//!   and drops what only it could receive. The entry is freed when neither a
//!   descriptor, a slot nor a notice is left.
//! * C. *Port*: release, or a disconnect on it, takes the name away, closes the
//!   engine, and does B for each connection, for the server. Release then drops what
//!   only it could receive. Who has found the name before is refused by the engine.
//!   Others may keep the port in memory; its tables are given back by the release
//!   that leaves nothing in them.
//! * D. *Thread*: a waiting thread that gives up takes the lock. Either its node is
//!   still linked, and it unlinks it: nothing was given to it. Or it has been handed
//!   something, and takes that: nothing is lost. A dying receiver puts its message
//!   back for others; a requester that times out or dies cancels.
//!   What a process holds is given up, a step at a time, by the close of the last of its descriptors
//!   that could answer (`flush` of the file operations), before the file's release; what a thread
//!   holds for itself alone, by a worker that the thread leaves behind.
//! * E. *View*: deleted by its owner, whom it is hidden from, by the call that sends it to be
//!   deleted, or with the section's file; given back by the holder's release, with a message
//!   of the holder's once that is sent, or by the end of its last mapping. The holder's slot
//!   is hidden under the lock of the holder's arena, then the loan ends under its own lock:
//!   the owner's next fault finds the view open. Its backing is freed by whoever lets go of it
//!   last, the slot's side or the loan's: 64 MiB at most.
//! * F. *What somebody else has left*: whoever does any of the above may have the last
//!   reference to it. Messages, contexts, credentials, process numbers, tasks, the
//!   structure of an address space and pages are freed there and then: each takes a
//!   bounded time, and what the kernel does for them at length it does in workers of its
//!   own. What a user can delay is left to a [worker](closing): the last reference to a
//!   file that is under way, unless its sender gives it up, and the last use of an address
//!   space. What is claimed is the receiver's own to close.

#![crate_name = "alpc"]

mod acl;
mod arena;
mod attributes;
mod audit;
mod backing;
mod buffer;
mod call;
mod caller;
mod cargo;
mod carried;
mod charge;
mod closing;
mod comm;
mod connect;
mod connect_port;
mod control;
mod cred;
mod credentials;
mod device;
mod ffi;
mod file;
mod file_table;
mod handle;
mod holder;
mod identity;
mod impersonate;
mod inode;
mod ioctl;
mod lazy;
mod leave;
#[allow(unreachable_pub, dead_code, reason = "shared with a host crate")]
mod logic;
mod mapping;
mod memory;
mod memory_request;
mod message;
mod names;
mod node;
mod offer;
mod open_file;
mod outcome;
mod pages;
mod peer;
mod plan;
mod port;
mod quota;
mod receipt;
mod required;
mod secret;
mod section;
mod security;
mod send;
mod shards;
mod shared;
mod slot;
mod space;
mod stay;
mod straight;
mod table;
mod takes;
mod thread_end;
mod time;
mod token;
mod told;
#[allow(
    unreachable_pub,
    dead_code,
    missing_docs,
    non_camel_case_types,
    reason = "generated, and documented in alpc.h"
)]
#[path = "../uapi/bindings.rs"]
mod uapi;
mod usage;
mod users_file;
mod view;
mod wait;
mod wait_set;
mod window;

use kernel::{
    prelude::*,
    sync::Arc, //
};

module! {
    type: Alpc,
    name: "alpc",
    authors: ["The ALPC for Linux authors"],
    description: "Asynchronous local procedure call ports",
    license: "GPL",
    params: {
        ports_per_user: u32 {
            default: 16384,
            description: "Ports one user may have",
        },
        connections_per_user: u32 {
            default: 65536,
            description: "Connections one user may have begun",
        },
        conversations_per_user: u32 {
            default: 65536,
            description: "Conversations one user may have open",
        },
        handles_per_user: u32 {
            default: 16384,
            description: "Handles one user may have in messages",
        },
        view_pages_per_user: u32 {
            default: 65536,
            description: "Pages of memory that one user's views may have",
        },
        view_pages: u32 {
            default: 0,
            description: "Pages of memory that all views may have, 0 for a quarter of all there is",
        },
    },
}

#[pin_data]
struct Alpc {
    /// `alpc/users` in debugfs. Goes before what it shows.
    users: users_file::UsersFile,
    // Goes first: only then there are no messages any more.
    #[pin]
    device: node::Node<device::Factory>,
    /// Goes before what its workers may leave files to.
    watcher: thread_end::Watcher,
    closer: closing::Closer,
    accounts: Arc<quota::Accounts>,
}

impl kernel::InPlaceModule for Alpc {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            accounts: {
                secret::draw();
                quota::Accounts::new()?
            },
            closer: closing::Closer::new()?,
            watcher: thread_end::Watcher::new(),
            device <- node::Node::register(device::Factory::new(accounts.clone())?),
            // Nothing fails after it: whoever has it open by then keeps the module.
            users: users_file::UsersFile::new(accounts.clone()),
        })
    }
}
