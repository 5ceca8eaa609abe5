// SPDX-License-Identifier: MIT OR Apache-2.0

//! `ALPC_IOC_QUERY_USER` and `ALPC_IOC_QUERY_CONNECTION`.

use std::os::fd::AsFd;

use alpc_uapi::*;

use super::{device, ioctl, Port, JUNK};

/// What a user has, or an errno.
pub fn user_usage(uid: u32, flags: u32) -> Result<alpc_query_user, i32> {
    user_usage_on(&device(), uid, flags)
}

pub fn user_usage_on(device: &impl AsFd, uid: u32, flags: u32) -> Result<alpc_query_user, i32> {
    // SAFETY: Plain numbers: any bytes are valid.
    let mut arg: alpc_query_user =
        unsafe { std::mem::transmute([JUNK; size_of::<alpc_query_user>()]) };
    (arg.uid, arg.flags) = (uid, flags);
    ioctl(device, ALPC_IOCTL_QUERY_USER, &mut arg)?;
    assert_eq!((arg.uid, arg.flags), (uid, flags));
    Ok(arg)
}

impl Port {
    /// The first connection from a number on, or an errno.
    pub fn connection_usage(&self, index: u32) -> Result<alpc_query_connection, i32> {
        // SAFETY: Plain numbers: any bytes are valid.
        let mut arg: alpc_query_connection =
            unsafe { std::mem::transmute([JUNK; size_of::<alpc_query_connection>()]) };
        arg.index = index;
        ioctl(self, ALPC_IOCTL_QUERY_CONNECTION, &mut arg)?;
        Ok(arg)
    }

    /// All connections of a connection port.
    pub fn connections_usage(&self) -> Vec<alpc_query_connection> {
        let mut all = Vec::new();
        let mut index = 0;
        loop {
            match self.connection_usage(index) {
                Ok(one) => {
                    index = one.index + 1;
                    all.push(one);
                }
                Err(libc::ENOENT) => return all,
                Err(errno) => panic!("QUERY_CONNECTION: {errno}"),
            }
        }
    }
}
