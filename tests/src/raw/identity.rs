// SPDX-License-Identifier: MIT OR Apache-2.0

//! `ALPC_IOC_QUERY_IDENTITY`.

use alpc_uapi::*;

use super::{ioctl, Failure, Message, Port, JUNK32, JUNK64};

/// What was told, and what stands in the room for groups and label.
pub struct Identity {
    pub arg: alpc_query_identity,
    pub groups: Vec<u32>,
    pub label: Vec<u8>,
}

/// An argument full of junk where something comes out.
pub fn identity_argument(id: u64, callback_id: u32) -> alpc_query_identity {
    alpc_query_identity {
        id,
        groups: 0,
        label: 0,
        cgroup: JUNK64,
        cap_effective: JUNK64,
        cap_permitted: JUNK64,
        cap_inheritable: JUNK64,
        cap_bounding: JUNK64,
        cap_ambient: JUNK64,
        callback_id,
        flags: 0,
        group_count: 0,
        label_length: 0,
        pid: JUNK32,
        tid: JUNK32,
        uid: JUNK32,
        euid: JUNK32,
        suid: JUNK32,
        fsuid: JUNK32,
        gid: JUNK32,
        egid: JUNK32,
        sgid: JUNK32,
        fsgid: JUNK32,
        loginuid: JUNK32,
        session: JUNK32,
        user_ns: JUNK32,
        outcome: JUNK32,
    }
}

impl Port {
    /// Asks with this argument.
    pub fn ask_identity(&self, arg: &mut alpc_query_identity) -> Result<(), Failure> {
        let asked = ioctl(self, ALPC_IOCTL_QUERY_IDENTITY, arg);
        let outcome = arg.outcome;
        asked.map(drop).map_err(|errno| Failure { errno, outcome })
    }

    /// Asks with room for so many groups and so long a label.
    pub fn identity_with_room(
        &self,
        id: u64,
        callback_id: u32,
        groups: usize,
        label: usize,
    ) -> Result<Identity, Failure> {
        let mut arg = identity_argument(id, callback_id);
        let (mut list, mut text) = (vec![JUNK32; groups], vec![0xa5_u8; label]);
        if groups != 0 {
            (arg.groups, arg.group_count) = (list.as_mut_ptr() as u64, groups as u32);
        }
        if label != 0 {
            (arg.label, arg.label_length) = (text.as_mut_ptr() as u64, label as u32);
        }
        self.ask_identity(&mut arg)?;
        assert_eq!(arg.outcome, ALPC_OUTCOME_OK);
        list.truncate(arg.group_count as usize);
        Ok(Identity {
            arg,
            groups: list,
            label: text,
        })
    }

    /// Who sent a message that is held.
    pub fn identity(&self, message: &Message) -> Result<Identity, Failure> {
        self.identity_with_room(message.id, message.callback_id, 64, 256)
    }

    /// Who is at the other end.
    pub fn peer_identity(&self) -> Result<Identity, Failure> {
        self.identity_with_room(0, 0, 64, 256)
    }
}

impl Identity {
    /// The label, without its final 0.
    pub fn label(&self) -> &str {
        match self.arg.label_length as usize {
            0 => "",
            length => {
                let (text, end) = self.label[..length].split_at(length - 1);
                assert_eq!(end, [0]);
                std::str::from_utf8(text).expect("a label")
            }
        }
    }

    /// User and group ids, as `/proc/PID/status` has them.
    pub fn ids(&self) -> [[u32; 4]; 2] {
        let arg = &self.arg;
        [
            [arg.uid, arg.euid, arg.suid, arg.fsuid],
            [arg.gid, arg.egid, arg.sgid, arg.fsgid],
        ]
    }

    /// The five sets of capabilities, in the order of `/proc/PID/status`.
    pub fn capabilities(&self) -> [u64; 5] {
        let arg = &self.arg;
        [
            arg.cap_inheritable,
            arg.cap_permitted,
            arg.cap_effective,
            arg.cap_bounding,
            arg.cap_ambient,
        ]
    }
}
