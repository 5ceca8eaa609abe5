// SPDX-License-Identifier: GPL-2.0

//! ALPC for Linux: asynchronous local procedure call ports.
#![crate_name = "alpc"]

mod acl;
mod attributes;
mod buffer;
mod call;
mod comm;
mod connect;
mod control;
mod cred;
mod device;
mod ffi;
mod file;
mod ioctl;
#[allow(unreachable_pub, dead_code, reason = "shared with a host crate")]
mod logic;
mod message;
mod names;
mod outcome;
mod port;
mod quota;
mod table;
mod time;
#[allow(
    unreachable_pub,
    dead_code,
    missing_docs,
    non_camel_case_types,
    reason = "generated, and documented in alpc.h"
)]
#[path = "../uapi/bindings.rs"]
mod uapi;
mod wait;

use kernel::prelude::*;

module! {
    type: Alpc,
    name: "alpc",
    authors: ["The ALPC for Linux authors"],
    description: "Asynchronous local procedure call ports",
    license: "GPL",
}

#[pin_data]
struct Alpc {
    #[pin]
    device: file::Device<device::Factory>,
}

impl kernel::InPlaceModule for Alpc {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            device <- file::Device::register(device::Factory::new()?),
        })
    }
}
