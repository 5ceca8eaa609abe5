// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who somebody is, and may be: questions, lists, contexts, impersonation.

use std::os::fd::{FromRawFd, OwnedFd};

use alpc_tests::raw::*;

use super::{Header, Player, NAMES};

impl Player<'_> {
    /// A level of security, mostly one that there is.
    pub fn level(&mut self) -> u32 {
        match self.rng.below(20) {
            0 => self.rng.word() as u32,
            1 => ALPC_SECURITY_ANONYMOUS,
            _ => *self.rng.pick(&[
                ALPC_SECURITY_DEFAULT,
                ALPC_SECURITY_IDENTIFY,
                ALPC_SECURITY_IMPERSONATE,
                ALPC_SECURITY_IMPERSONATE | ALPC_SECURITY_DYNAMIC,
                ALPC_SECURITY_IMPERSONATE | ALPC_SECURITY_EFFECTIVE_ONLY,
            ]),
        }
    }

    /// The number of a context, mostly one that there is or was.
    fn context(&mut self) -> u64 {
        match self.rng.below(20) {
            0 => self.rng.word(),
            _ => self.contexts.saturating_sub(self.rng.below(3)),
        }
    }

    pub fn security_container(&mut self) -> SecurityContainer {
        let flags = *self.rng.pick(&[
            0,
            ALPC_SECURITY_DELETE,
            ALPC_SECURITY_ONCE,
            ALPC_SECURITY_ONCE,
            ALPC_SECURITY_CREATE,
        ]);
        let mut made = match flags & (ALPC_SECURITY_ONCE | ALPC_SECURITY_CREATE) {
            0 => SecurityContainer::sending(self.context(), 0, flags),
            _ => SecurityContainer::sending(0, self.level(), flags),
        };
        self.damage(&mut made.security);
        made
    }

    /// Makes contexts, and does away with them.
    pub fn contexts(&mut self) {
        let port = self.port_of(&[ALPC_ROLE_SERVER, ALPC_ROLE_CLIENT]);
        let commands = [
            ("CREATE_SECURITY", ALPC_IOCTL_CREATE_SECURITY),
            ("DELETE_SECURITY", ALPC_IOCTL_DELETE_SECURITY),
            ("REVOKE_SECURITY", ALPC_IOCTL_REVOKE_SECURITY),
        ];
        for (name, command) in [commands[0], *self.rng.pick(&commands)] {
            let mut arg = match command {
                ALPC_IOCTL_CREATE_SECURITY => alpc_security {
                    security: self.level(),
                    ..Default::default()
                },
                _ => alpc_security {
                    context: self.context(),
                    ..Default::default()
                },
            };
            self.damage(&mut arg);
            let made = self.call(name, &*port, command, &mut arg);
            if made.is_some() && command == ALPC_IOCTL_CREATE_SECURITY {
                self.contexts = arg.context;
            }
        }
    }

    /// Becomes the sender of a message, mostly, and itself again, sooner or later.
    pub fn impersonate(&mut self, header: &Header) {
        if self.rng.one_in(4) {
            let uid = *self.rng.pick(&[0, 0, 4711]);
            // SAFETY: Takes no pointer, and is about this thread only, which has what it needs.
            unsafe { libc::syscall(libc::SYS_setfsuid, uid) };
        }
        let port = self.port_for(header);
        let mut arg = alpc_impersonate {
            id: header.id,
            callback_id: header.turn,
            ..Default::default()
        };
        self.damage(&mut arg);
        let command = ALPC_IOCTL_IMPERSONATE;
        let Some(fd) = self.call("IMPERSONATE", &*port, command, &mut arg) else {
            return;
        };
        if self.rng.one_in(30) {
            // Another thread may try to undo it, or close it.
            return self.keep(fd, 0);
        }
        // SAFETY: The ioctl has just returned it.
        let way_back = unsafe { OwnedFd::from_raw_fd(fd) };
        if !self.rng.one_in(12) {
            let mut nothing = 0_u64;
            self.call("REVERT", &way_back, ALPC_IOCTL_REVERT, &mut nothing);
        }
    }

    pub fn open(&mut self) {
        if !self.rng.one_in(3) {
            return;
        }
        let name = *self.rng.pick(&NAMES);
        let mut arg = alpc_open {
            name: name.as_ptr() as u64,
            name_length: name.len() as u32,
            ..Default::default()
        };
        self.damage(&mut arg);
        let device = self.device.clone();
        if let Some(fd) = self.call("OPEN", &*device, ALPC_IOCTL_OPEN, &mut arg) {
            self.keep(fd, ALPC_ROLE_CONNECT);
        }
    }

    pub fn query_identity(&mut self) {
        let header = self.header();
        let port = self.port_for(&header);
        let mut arg = alpc_query_identity {
            id: header.id,
            callback_id: header.turn,
            groups: self.address(),
            group_count: self.length(),
            label: self.address(),
            label_length: self.length(),
            ..Default::default()
        };
        self.damage(&mut arg);
        self.call(
            "QUERY_IDENTITY",
            &*port,
            ALPC_IOCTL_QUERY_IDENTITY,
            &mut arg,
        );
    }

    pub fn verify(&mut self) {
        let header = self.header();
        let port = self.port_for(&header);
        let mut arg = alpc_verify {
            id: header.id,
            callback_id: header.turn,
            flags: self.rng.below(2) as u32,
            ..Default::default()
        };
        self.damage(&mut arg);
        self.call("VERIFY", &*port, ALPC_IOCTL_VERIFY, &mut arg);
    }

    pub fn acl(&mut self) {
        let port = match self.rng.one_in(4) {
            true => self.port(),
            false => self.port_of(&[ALPC_ROLE_CONNECTION, ALPC_ROLE_CONNECT]),
        };
        let mut entries = [allow(ALPC_ACL_EVERYONE, 0); 4];
        // The first one is as it is, or soon nobody would connect.
        for entry in &mut entries[1..] {
            entry.who = 1 + self.rng.below(5) as u16;
            entry.rights = ALPC_RIGHT_CONNECT | self.rng.below(64) as u32;
            self.damage(entry);
        }
        let mut arg = acl_argument(&entries[..1 + self.rng.below(4) as usize]);
        if self.rng.one_in(4) {
            arg = acl_argument(&[]);
            arg.flags = ALPC_ACL_NO_LIST;
        }
        self.damage(&mut arg);
        self.call("SET_ACL", &*port, ALPC_IOCTL_SET_ACL, &mut arg);
        let mut arg = alpc_acl {
            count: self.length(),
            ..Default::default()
        };
        self.damage(&mut arg);
        // Not a damaged address: what is written there, would be.
        arg.entries = self.address();
        self.call("QUERY_ACL", &*port, ALPC_IOCTL_QUERY_ACL, &mut arg);
    }
}
