// SPDX-License-Identifier: MIT OR Apache-2.0

//! CONNECT and ACCEPT.

use std::os::fd::AsFd;

use alpc_uapi::*;

use super::{adopt, device, ioctl, Failure, Port, JUNK, JUNK32};

/// Everything that goes into a CONNECT. `arg` may be edited before `run`.
pub struct Connect {
    pub name: Option<Vec<u8>>,
    pub data: Vec<u8>,
    pub label: Vec<u8>,
    /// The buffer of the answer, junk where nothing was written.
    pub recv: Vec<u8>,
    pub arg: alpc_connect,
}

/// What a connect gave.
pub struct Connected {
    pub port: Port,
    /// The server's answer; empty for an asynchronous connect.
    pub data: Vec<u8>,
    pub server_pid: u32,
    pub server_uid: u32,
    pub server_gid: u32,
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "connected to pid {}", self.server_pid)
    }
}

impl Connect {
    /// By name, or through a connect descriptor given to `run_on`.
    pub fn new(name: Option<&str>) -> Self {
        Self {
            name: name.map(|n| n.as_bytes().to_vec()),
            data: Vec::new(),
            label: Vec::new(),
            recv: vec![JUNK; 256],
            arg: alpc_connect {
                fd: -1,
                outcome: JUNK32,
                recv_length: JUNK32,
                server_pid: JUNK32,
                server_uid: JUNK32,
                server_gid: JUNK32,
                ..Default::default()
            },
        }
    }

    pub fn to(name: &str) -> Self {
        Self::new(Some(name))
    }

    pub fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    pub fn context(mut self, context: u64) -> Self {
        self.arg.context = context;
        self
    }

    /// What the client takes: `ALPC_TAKE_*`, and kinds of handle.
    pub fn takes(mut self, accept: u32, kinds: u32) -> Self {
        self.arg.accept = accept;
        self.arg.handle_kinds = kinds;
        self
    }

    pub fn flags(mut self, flags: u32) -> Self {
        self.arg.flags |= flags;
        self
    }

    /// What the client takes from the server.
    pub fn taking(mut self, takes: u32) -> Self {
        self.arg.accept = takes;
        self
    }

    pub fn asynchronous(self) -> Self {
        self.capacity(0).flags(ALPC_CONNECT_ASYNC)
    }

    pub fn capacity(mut self, bytes: usize) -> Self {
        self.recv = vec![JUNK; bytes];
        self
    }

    pub fn timeout(mut self, nanoseconds: u64) -> Self {
        self.arg.timeout = nanoseconds;
        self.flags(ALPC_TIMEOUT_RELATIVE)
    }

    pub fn required_uid(mut self, uid: u32) -> Self {
        self.arg.required_uid = uid;
        self.flags(ALPC_CONNECT_REQUIRE_UID)
    }

    pub fn required_gid(mut self, gid: u32) -> Self {
        self.arg.required_gid = gid;
        self.flags(ALPC_CONNECT_REQUIRE_GID)
    }

    pub fn required_label(mut self, label: &str) -> Self {
        self.label = label.as_bytes().to_vec();
        self.flags(ALPC_CONNECT_REQUIRE_LABEL)
    }

    pub fn run(&mut self) -> Result<Connected, Failure> {
        self.run_on(&device())
    }

    pub fn run_on(&mut self, fd: &impl AsFd) -> Result<Connected, Failure> {
        self.point();
        self.run_as_is(fd)
    }

    /// Makes the argument point to name, payload and buffer.
    pub fn point(&mut self) {
        let address = |data: &[u8]| {
            if data.is_empty() {
                0
            } else {
                data.as_ptr() as u64
            }
        };
        if let Some(name) = &self.name {
            self.arg.name = name.as_ptr() as u64;
            self.arg.name_length = name.len() as u32;
        }
        self.arg.send_data = address(&self.data);
        self.arg.send_length = self.data.len() as u32;
        self.arg.recv_data = address(&self.recv);
        self.arg.recv_capacity = self.recv.len() as u32;
        self.arg.required_label = address(&self.label);
        self.arg.required_label_length = self.label.len() as u32;
    }

    /// Runs with whatever the argument holds.
    pub fn run_as_is(&mut self, fd: &impl AsFd) -> Result<Connected, Failure> {
        let result = ioctl(fd, ALPC_IOCTL_CONNECT, &mut self.arg);
        let outcome = self.arg.outcome;
        let port = result
            .map(adopt)
            .map_err(|errno| Failure { errno, outcome })?;
        assert_eq!(outcome, ALPC_OUTCOME_OK, "outcome of a success");
        let length = if self.arg.flags & ALPC_CONNECT_ASYNC != 0 {
            0
        } else {
            (self.arg.recv_length as usize).min(self.recv.len())
        };
        assert!(
            self.recv[length..].iter().all(|&byte| byte == JUNK),
            "bytes after the answer were written"
        );
        Ok(Connected {
            port,
            data: self.recv[..length].to_vec(),
            server_pid: self.arg.server_pid,
            server_uid: self.arg.server_uid,
            server_gid: self.arg.server_gid,
        })
    }
}

/// Everything that goes into an ACCEPT. `arg` may be edited before `run`.
pub struct Accept {
    pub data: Vec<u8>,
    pub arg: alpc_accept,
}

impl Accept {
    pub fn new(id: u64) -> Self {
        Self {
            data: Vec::new(),
            arg: alpc_accept {
                id,
                outcome: JUNK32,
                ..Default::default()
            },
        }
    }

    pub fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    pub fn context(mut self, context: u64) -> Self {
        self.arg.context = context;
        self
    }

    /// What the server takes: `ALPC_TAKE_*`, and kinds of handle.
    pub fn takes(mut self, accept: u32, kinds: u32) -> Self {
        self.arg.accept = accept;
        self.arg.handle_kinds = kinds;
        self
    }

    fn call(&mut self, port: &Port) -> Result<i32, Failure> {
        if !self.data.is_empty() {
            self.arg.send_data = self.data.as_ptr() as u64;
        }
        self.arg.send_length = self.data.len() as u32;
        let result = ioctl(port, ALPC_IOCTL_ACCEPT, &mut self.arg);
        let outcome = self.arg.outcome;
        if result.is_ok() {
            assert_eq!(outcome, ALPC_OUTCOME_OK, "outcome of a success");
        }
        result.map_err(|errno| Failure { errno, outcome })
    }

    pub fn run(&mut self, port: &Port) -> Result<Port, Failure> {
        self.call(port).map(adopt)
    }

    /// Refuses instead: no port is made.
    pub fn refuse(&mut self, port: &Port) -> Result<(), Failure> {
        self.arg.flags |= ALPC_REFUSE;
        self.call(port).map(|value| {
            assert_eq!(value, 0, "a refusal returns no descriptor");
        })
    }
}
