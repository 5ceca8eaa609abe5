// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT

//! The ABI of ALPC for Linux: structures, constants and ioctl numbers.
//!
//! All of it is made by bindgen from `alpc.h`, the one hand-written statement
//! of the ABI; what each field means is said there. The `ALPC_IOCTL_*`
//! constants are the header's `ALPC_IOC_*`.
#![no_std]

mod bindings {
    #![allow(non_camel_case_types)]
    include!("bindings.rs");
}

pub use bindings::*;
