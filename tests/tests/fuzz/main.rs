// SPDX-License-Identifier: MIT OR Apache-2.0

//! Random calls with random arguments, from a seed that is printed. Whatever
//! they are, the kernel answers, and at the end nothing is left. Each ioctl
//! must have succeeded often enough for its failures to mean something.

mod caller_memory;
mod who;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use alpc_tests::raw::*;
use alpc_tests::rng::{seed, Rng};
use alpc_tests::*;

const NAMES: [&str; 3] = ["fuzz/a", "fuzz/b", "fuzz/c"];
/// Descriptors kept at most: enough for every kind to be there.
const POOL: usize = 48;

/// What all threads play with.
#[derive(Default)]
struct World {
    ports: Mutex<Vec<Arc<Toy>>>,
    /// Headers and where they belong, to be answered rightly, late or by the
    /// wrong port.
    headers: Mutex<Vec<Header>>,
    /// How often each ioctl ended with each errno; 0 is success.
    results: Mutex<BTreeMap<&'static str, BTreeMap<i32, u64>>>,
}

/// A descriptor and what it was made as.
struct Toy {
    port: Port,
    role: u32,
}

impl AsFd for Toy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }
}

#[derive(Clone, Default)]
struct Header {
    id: u64,
    turn: u32,
    port: Weak<Toy>,
}

struct Player<'a> {
    world: &'a World,
    /// Where memory is offered all the time.
    offers: &'a Pair,
    rng: Rng,
    device: Arc<Toy>,
    memory: Vec<u8>,
    /// What is sent.
    file: OwnedFd,
    /// The number of the context that was made last.
    contexts: u64,
}

impl Player<'_> {
    fn keep(&mut self, fd: i32, role: u32) {
        use std::os::fd::FromRawFd;
        // SAFETY: An ioctl just returned it.
        let port = Port::from(unsafe { OwnedFd::from_raw_fd(fd) });
        let port = Arc::new(Toy { port, role });
        let mut ports = self.world.ports.lock().expect("lock");
        if ports.len() >= POOL {
            let index = self.rng.below(POOL as u64) as usize;
            let old = std::mem::replace(&mut ports[index], port);
            drop(ports);
            // The close runs outside the lock, beside other threads' calls.
            drop(old);
        } else {
            ports.push(port);
        }
    }

    fn port(&mut self) -> Arc<Toy> {
        if self.rng.one_in(200) {
            return self.device.clone();
        }
        let ports = self.world.ports.lock().expect("lock");
        if ports.is_empty() {
            return self.device.clone();
        }
        ports[self.rng.below(ports.len() as u64) as usize].clone()
    }

    fn header(&mut self) -> Header {
        let headers = self.world.headers.lock().expect("lock");
        if headers.is_empty() {
            return Header::default();
        }
        // The latest are the likeliest to be open still.
        let back = self.rng.below(8).min(headers.len() as u64 - 1) as usize;
        headers[headers.len() - 1 - back].clone()
    }

    /// Mostly a port of one of these roles.
    fn port_of(&mut self, roles: &[u32]) -> Arc<Toy> {
        for _ in 0..4 {
            let port = self.port();
            if roles.contains(&port.role) {
                return port;
            }
        }
        self.port()
    }

    /// Mostly the port where the header belongs.
    fn port_for(&mut self, header: &Header) -> Arc<Toy> {
        match header.port.upgrade() {
            Some(port) if !self.rng.one_in(5) => port,
            _ => self.port(),
        }
    }

    fn remember(&mut self, id: u64, turn: u32, port: &Arc<Toy>) {
        let mut headers = self.world.headers.lock().expect("lock");
        let port = Arc::downgrade(port);
        headers.push(Header { id, turn, port });
        if headers.len() > 64 {
            headers.remove(0);
        }
    }

    /// An address: mostly memory of ours, sometimes anything.
    fn address(&mut self) -> u64 {
        match self.rng.below(40) {
            0 => *self.rng.pick(&memory::HOSTILE),
            1 => 0,
            2 => self.rng.word(),
            _ => self.memory.as_mut_ptr() as u64 + self.rng.below(64),
        }
    }

    /// A length: mostly small, sometimes at an edge, sometimes anything.
    fn length(&mut self) -> u32 {
        match self.rng.below(20) {
            0 => self.rng.word() as u32,
            1 => *self
                .rng
                .pick(&[256, 257, 4095, 4096, 4097, 65535, 65536, 65537]),
            _ => self.rng.below(200) as u32,
        }
    }

    /// A timeout that ends soon, in a flags word that had none.
    fn timeout(&mut self, flags: &mut u32) -> u64 {
        *flags &= !ALPC_TIMEOUT_MASK;
        *flags |= match self.rng.below(10) {
            0 => 1 + self.rng.below(7) as u32,
            _ => ALPC_TIMEOUT_RELATIVE,
        };
        self.rng.below(30_000)
    }

    /// Changes a few random bits of a structure, now and then.
    fn damage<T>(&mut self, arg: &mut T) {
        if !self.rng.one_in(30) {
            return;
        }
        let size = std::mem::size_of::<T>();
        // SAFETY: The argument structures are plain numbers without padding.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(std::ptr::from_mut(arg).cast::<u8>(), size) };
        for _ in 0..=self.rng.below(3) {
            bytes[self.rng.below(size as u64) as usize] ^= 1 << self.rng.below(8);
        }
    }

    fn call<T>(
        &mut self,
        name: &'static str,
        fd: &impl AsFd,
        request: u32,
        arg: &mut T,
    ) -> Option<i32> {
        let result = ioctl(fd, request, arg);
        let mut results = self.world.results.lock().expect("lock");
        let errno = result.err().unwrap_or(0);
        *results.entry(name).or_default().entry(errno).or_default() += 1;
        result.ok()
    }

    fn create(&mut self) {
        let name = *self.rng.pick(&NAMES);
        let entries = [allow(ALPC_ACL_EVERYONE, 0), deny(ALPC_ACL_USER, 0)];
        let mut create = if self.rng.one_in(3) {
            Create::anonymous()
        } else {
            Create::named(name)
        };
        if self.rng.one_in(3) {
            let from = self.rng.below(2) as usize;
            create = create.acl(&entries[from..]);
        }
        if self.rng.one_in(4) {
            create.arg.flags |= *self
                .rng
                .pick(&[ALPC_PORT_LPC_MODE, ALPC_PORT_ARRIVAL_ORDER]);
        }
        if self.rng.one_in(4) {
            create = create.share(1 + self.rng.below(5) as u32, 0);
        }
        if !self.rng.one_in(8) {
            create = create.takes(ALPC_TAKE_HANDLES | ALPC_TAKE_SECURITY | ALPC_TAKE_MEMORY, 0);
        }
        create.point();
        self.damage(&mut create.arg);
        let device = self.device.clone();
        let made = self.call(
            "CREATE_PORT",
            &*device,
            ALPC_IOCTL_CREATE_PORT,
            &mut create.arg,
        );
        if let Some(fd) = made {
            self.keep(fd, ALPC_ROLE_CONNECTION);
        }
    }

    fn connect(&mut self) {
        let named = self.rng.one_in(2);
        let mut connect = Connect::new(named.then_some(*self.rng.pick(&NAMES)));
        let fd = match named {
            true => self.device.clone(),
            false => self.port_of(&[ALPC_ROLE_CONNECT]),
        };
        if !self.rng.one_in(8) {
            connect = connect.takes(ALPC_TAKE_HANDLES | ALPC_TAKE_SECURITY, 0);
        }
        connect.point();
        if !self.rng.one_in(4) {
            connect.arg.flags |= ALPC_CONNECT_ASYNC;
        }
        connect.arg.security = self.level();
        let recv_data = connect.arg.recv_data;
        self.damage(&mut connect.arg);
        // The kernel shall write into memory that is there for it, or nowhere.
        connect.arg.recv_data = recv_data;
        connect.arg.send_length = connect.arg.send_length.min(64);
        // A damaged flag must not make a wait endless.
        connect.arg.timeout = self.timeout(&mut connect.arg.flags);
        if connect.arg.flags & ALPC_CONNECT_ASYNC != 0 && !self.rng.one_in(20) {
            // It doesn't wait, and takes nothing that says so.
            connect.arg.flags &= !ALPC_TIMEOUT_MASK;
            connect.arg.timeout = 0;
            connect.arg.recv_data = 0;
            connect.arg.recv_capacity = 0;
        }
        if let Some(fd) = self.call("CONNECT", &*fd, ALPC_IOCTL_CONNECT, &mut connect.arg) {
            self.keep(fd, ALPC_ROLE_CLIENT);
        }
    }

    fn create_connect(&mut self) {
        let port = self.port_of(&[ALPC_ROLE_CONNECTION]);
        let mut nothing = 0_u64;
        let made = self.call(
            "CREATE_CONNECT",
            &*port,
            ALPC_IOCTL_CREATE_CONNECT,
            &mut nothing,
        );
        if let Some(fd) = made {
            self.keep(fd, ALPC_ROLE_CONNECT);
        }
    }

    fn accept(&mut self) {
        let header = self.header();
        let port = self.port_for(&header);
        self.accept_on(&port, header.id);
    }

    fn accept_on(&mut self, port: &Toy, id: u64) {
        let mut accept = Accept::new(id);
        accept.arg.send_data = self.address();
        accept.arg.send_length = self.rng.below(100) as u32;
        accept.arg.context = self.rng.word();
        let refuse = self.rng.one_in(6);
        if refuse {
            accept.arg.flags |= ALPC_REFUSE;
        }
        self.damage(&mut accept.arg);
        let refuses = accept.arg.flags & ALPC_REFUSE != 0;
        let made = self.call("ACCEPT", port, ALPC_IOCTL_ACCEPT, &mut accept.arg);
        if let (Some(fd), false) = (made, refuses) {
            self.keep(fd, ALPC_ROLE_SERVER);
        }
    }

    /// A few handles to be sent; most can be.
    fn handles(&mut self) -> HandleContainer {
        let mut fds = Vec::new();
        for _ in 0..=self.rng.below(20) {
            let fd = match self.rng.below(100) {
                0 => self.port().as_fd().as_raw_fd(),
                1 => self.rng.word() as i32,
                _ => self.file.as_raw_fd(),
            };
            fds.push(fd);
        }
        let mut handles = HandleContainer::sending(&fds);
        let valid = *handles.handle();
        self.damage(handles.handle());
        // The kernel shall write into memory that is there for it.
        handles.handle().handles = valid.handles;
        handles.handle().count = handles.handle().count.min(valid.count);
        handles
    }

    fn claim(&mut self, header: &Header) {
        let port = self.port_for(header);
        let message = Transfer::new().message(0);
        let mut claim = Claim::new(&message, self.rng.below(2) as u32, 8);
        claim.arg.count = 1 + self.rng.below(2) as u32;
        (claim.arg.id, claim.arg.callback_id) = (header.id, header.turn);
        self.damage(&mut claim.arg);
        claim.arg.count = claim.arg.count.min(8);
        claim.point();
        self.call("CLAIM", &*port, ALPC_IOCTL_CLAIM, &mut claim.arg);
        claim.entries.retain(|entry| entry.fd >= 0);
        drop(own(&claim.entries));
    }

    fn transfer(&mut self) {
        const COMM: [u32; 2] = [ALPC_ROLE_SERVER, ALPC_ROLE_CLIENT];
        const ALL: [u32; 3] = [ALPC_ROLE_CONNECTION, ALPC_ROLE_SERVER, ALPC_ROLE_CLIENT];
        let header = self.header();
        let choices: &[(u32, &[u32])] = &[
            (ALPC_RECEIVE, &ALL),
            (ALPC_RECEIVE, &ALL),
            (ALPC_RECEIVE, &ALL),
            (ALPC_SEND, &COMM),
            (ALPC_SEND, &COMM),
            (ALPC_SEND | ALPC_RELEASE, &COMM),
            (ALPC_SEND | ALPC_RECEIVE, &COMM),
            (ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC, &COMM),
            // Into the conversation of a header.
            (ALPC_SEND, &[]),
            (ALPC_SEND | ALPC_RELEASE, &[]),
            (ALPC_SEND | ALPC_RECEIVE | ALPC_RELEASE, &[]),
            (ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC, &[]),
            (ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC | ALPC_ANSWER, &[]),
            (ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC | ALPC_SENT, &[]),
            (ALPC_SEND | ALPC_RELEASE | ALPC_DISCARD, &[]),
        ];
        let (flags, roles) = *self.rng.pick(choices);
        let mut transfer = Transfer::new().flags(flags);
        let arg = &mut transfer.arg;
        if flags & ALPC_SEND != 0 && self.rng.one_in(4) {
            arg.flags |= ALPC_NONBLOCK;
        }
        let port = if roles.is_empty() {
            (arg.send_id, arg.send_callback_id) = (header.id, header.turn);
            self.port_for(&header)
        } else {
            self.port_of(roles)
        };
        arg.send_data = self.address();
        arg.send_length = match flags & ALPC_DISCARD {
            0 => self.length(),
            _ => 0,
        };
        arg.recv_data = self.address();
        arg.recv_capacity = self.length();
        let mut container = ContextContainer::sending(self.rng.word());
        if self.rng.one_in(3) {
            self.damage(&mut container);
            // That has no room behind it.
            container.head.allocated &=
                !(EVERY_ATTRIBUTE.into_iter().sum::<u32>() & !ALPC_ATTR_CONTEXT);
            arg.send_attributes = container.address();
            arg.recv_attributes = container.address();
        }
        let mut handles = self.handles();
        if flags & ALPC_SEND != 0 && flags & ALPC_DISCARD == 0 && self.rng.one_in(2) {
            arg.send_attributes = handles.address();
        }
        let mut receiver = ReceiverContainer::new(Some(0), None);
        if arg.send_attributes == 0 && self.rng.one_in(4) {
            self.damage(&mut receiver.receiver);
            arg.send_attributes = receiver.address();
        }
        let mut security = self.security_container();
        if arg.send_attributes == 0 && flags & ALPC_SEND != 0 && self.rng.one_in(6) {
            arg.send_attributes = security.address();
        }
        if arg.recv_attributes == 0 && self.rng.one_in(8) {
            arg.recv_attributes = security.address();
        }
        let mut ranges = self.ranges();
        let new = ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC;
        if flags == new && !roles.is_empty() && self.rng.one_in(8) {
            arg.send_attributes = ranges.container();
        }
        let mut token = TokenContainer::room();
        if arg.recv_attributes == 0 && self.rng.one_in(4) {
            arg.recv_attributes = token.address();
        }
        let mut claimed = HandleContainer::claiming(self.rng.below(4) as usize);
        if self.rng.one_in(3) {
            arg.recv_attributes = claimed.address();
        }
        let recv_attributes = arg.recv_attributes;
        self.damage(arg);
        // The kernel shall write into memory that is there for it, or nowhere.
        arg.recv_data = self.address();
        arg.recv_attributes = match self.rng.below(50) {
            0 => *self.rng.pick(&memory::HOSTILE),
            _ => recv_attributes,
        };
        arg.timeout = self.timeout(&mut arg.flags);
        if self
            .call(
                "TRANSFER",
                &*port,
                ALPC_IOCTL_SEND_WAIT_RECEIVE,
                &mut transfer.arg,
            )
            .is_some()
        {
            let arg = transfer.arg;
            if arg.flags & ALPC_RECEIVE != 0 && arg.id != JUNK64 {
                self.remember(arg.id, arg.callback_id, &port);
                if arg.id != 0 {
                    let (id, turn) = (arg.id, arg.callback_id);
                    let port = Arc::downgrade(&port);
                    let header = Header { id, turn, port };
                    for _ in 0..4 {
                        self.claim(&header);
                        self.caller_memory(&header);
                    }
                    if u32::from(arg.type_) != ALPC_TYPE_CONNECTION_REQUEST {
                        for _ in 0..16 {
                            self.impersonate(&header);
                        }
                    }
                }
                if u32::from(arg.type_) == ALPC_TYPE_CONNECTION_REQUEST {
                    self.accept_on(&port, arg.id);
                }
            } else if arg.send_id != 0 {
                self.remember(arg.send_id, 0, &port);
            }
        } else if matches!(
            transfer.arg.outcome,
            ALPC_OUTCOME_DISCONNECTED | ALPC_OUTCOME_CLOSED | ALPC_OUTCOME_REFUSED
        ) {
            // Good for nothing any more.
            self.forget(&port);
        }
        claimed.entries.retain(|entry| entry.fd >= 0);
        drop(own(&claimed.entries));
    }

    fn forget(&mut self, port: &Arc<Toy>) {
        let mut ports = self.world.ports.lock().expect("lock");
        let index = ports.iter().position(|other| Arc::ptr_eq(other, port));
        let old = index.map(|index| ports.swap_remove(index));
        drop(ports);
        drop(old);
    }

    fn cancel(&mut self) {
        let header = self.header();
        let port = self.port_for(&header);
        let mut arg = alpc_cancel {
            id: header.id,
            flags: self.rng.below(2) as u32,
            outcome: 0,
        };
        self.damage(&mut arg);
        self.call("CANCEL", &*port, ALPC_IOCTL_CANCEL, &mut arg);
    }

    fn disconnect(&mut self) {
        // Rarely: what is disconnected is good for nothing any more.
        if !self.rng.one_in(8) {
            return;
        }
        let port = self.port();
        let mut arg = alpc_disconnect {
            flags: self.rng.below(2) as u32,
            reserved: 0,
        };
        self.damage(&mut arg);
        self.call("DISCONNECT", &*port, ALPC_IOCTL_DISCONNECT, &mut arg);
    }

    fn query(&mut self) {
        let mut arg = alpc_query_port::default();
        self.damage(&mut arg);
        let port = self.port();
        self.call("QUERY_PORT", &*port, ALPC_IOCTL_QUERY_PORT, &mut arg);
        let mut arg = alpc_query_connection::default();
        self.damage(&mut arg);
        let port = self.port_of(&[ALPC_ROLE_CONNECTION]);
        let request = ALPC_IOCTL_QUERY_CONNECTION;
        self.call("QUERY_CONNECTION", &*port, request, &mut arg);
        let mut arg = alpc_query_user::default();
        self.damage(&mut arg);
        let device = self.device.clone();
        self.call("QUERY_USER", &*device, ALPC_IOCTL_QUERY_USER, &mut arg);
        let mut arg = alpc_query::default();
        self.damage(&mut arg);
        let device = self.device.clone();
        self.call("QUERY", &*device, ALPC_IOCTL_QUERY, &mut arg);
    }

    /// Any number, any memory, any descriptor.
    fn wild(&mut self) {
        let port = self.port();
        let number = self.rng.below(64) as u32;
        let size = self.rng.below(512) as u32;
        let direction = self.rng.below(4) as u32;
        let request = (direction << 30) | (size << 16) | (ALPC_IOC_MAGIC << 8) | number;
        // A receive of random flags could wait for ever.
        if number == (ALPC_IOCTL_SEND_WAIT_RECEIVE & 0xff) || number == (ALPC_IOCTL_CONNECT & 0xff)
        {
            return;
        }
        let mut bytes = [0_u8; 512];
        for byte in &mut bytes {
            *byte = self.rng.word() as u8;
        }
        let result = ioctl(&*port, request, &mut bytes);
        if let Ok(fd @ 1..) = result {
            self.keep(fd, 0);
        }
        let _ = wait::poll_now(&*port, libc::POLLIN | libc::POLLOUT);
    }

    fn step(&mut self) {
        match self.rng.below(64) {
            0 | 1 => self.create(),
            2..=5 => self.connect(),
            6 => self.create_connect(),
            7 => self.accept(),
            8..=10 => self.cancel(),
            11 => self.disconnect(),
            12 => self.query(),
            57 => self.open(),
            58 => self.contexts(),
            60 | 61 => (0..3).for_each(|_| self.verify()),
            62 | 63 => self.query_identity(),
            59 => self.acl(),
            56 => self.use_offer(),
            13 => self.wild(),
            14 => {
                let mut ports = self.world.ports.lock().expect("lock");
                if ports.len() > POOL / 2 {
                    let index = self.rng.below(ports.len() as u64) as usize;
                    let old = ports.swap_remove(index);
                    drop(ports);
                    drop(old);
                }
            }
            _ => self.transfer(),
        }
    }
}

#[test]
fn random_calls_are_all_answered_and_leave_nothing() {
    isolated_long(15, || {
        let seed = seed();
        note!("ALPC_SEED={seed}");
        let world = World::default();
        let offers = Pair::with(Create::anonymous().open().taking_memory());
        let threads = 2;
        let steps = rounds(200_000) / threads;
        let player = |number| Player {
            world: &world,
            offers: &offers,
            rng: Rng::new(seed.wrapping_add(number)),
            device: Arc::new(Toy {
                port: device(),
                role: 0,
            }),
            memory: vec![0; 2 * ALPC_MESSAGE_MAX as usize],
            file: files::eventfd(),
            contexts: 0,
        };
        let at_work = AtomicU64::new(threads);
        thread::scope(|scope| {
            for number in 0..threads {
                let (player, at_work) = (&player, &at_work);
                scope.spawn(move || {
                    let mut player = player(number);
                    for _ in 0..steps {
                        player.step();
                    }
                    at_work.fetch_sub(1, SeqCst);
                });
            }
            let mut caller = player(threads);
            while at_work.load(SeqCst) > 0 {
                caller.offer();
            }
        });
        let results = world.results.into_inner().expect("lock");
        for (name, errnos) in &results {
            note!("{name}: {errnos:?}");
        }
        let total: u64 = results.values().flat_map(BTreeMap::values).sum();
        assert!(total >= steps, "{total} calls");
        if steps * threads >= 200_000 {
            for (name, errnos) in results {
                let good = errnos.get(&0).copied().unwrap_or(0);
                assert!(good >= 100, "{name} succeeded {good} times");
            }
        }
    });
}
