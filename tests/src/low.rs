// SPDX-License-Identifier: MIT OR Apache-2.0

//! Calls as a 32-bit program makes them, from this 64-bit process: through the 32-bit system call
//! gate, with everything in the lower 4 GiB.

use std::arch::asm;
use std::os::fd::{AsFd, AsRawFd};

/// `ioctl` in the 32-bit system call table.
const IOCTL: u32 = 54;

/// An ioctl as a 32-bit program makes it.
pub fn ioctl32(fd: &impl AsFd, request: u32, argument: u32) -> Result<i32, i32> {
    let result: i32;
    // SAFETY: The gate keeps every register but eax; rbx, which the compiler
    // reserves, is put back. The argument is a page of ours.
    unsafe {
        asm!(
            "mov {saved}, rbx",
            "mov ebx, {fd:e}",
            "int 0x80",
            "mov rbx, {saved}",
            saved = out(reg) _,
            fd = in(reg) fd.as_fd().as_raw_fd(),
            inlateout("eax") IOCTL as i32 => result,
            in("ecx") request,
            in("edx") argument,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result >= 0 {
        Ok(result)
    } else {
        Err(-result)
    }
}

/// A page that a 32-bit pointer reaches.
pub struct LowPage(*mut u8);

impl LowPage {
    pub fn new() -> Self {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: A new mapping, never unmapped: the test is short.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        Self(page.cast())
    }

    pub fn address(&self) -> u32 {
        u32::try_from(self.0 as u64).expect("a low page")
    }

    /// Runs an ioctl on an argument at the start of the page.
    pub fn call<T: Copy>(&self, fd: &impl AsFd, request: u32, arg: &mut T) -> Result<i32, i32> {
        // SAFETY: The page is ours, aligned, and larger than any argument.
        unsafe { self.0.cast::<T>().write(*arg) };
        let result = ioctl32(fd, request, self.address());
        // SAFETY: As above; the structures are plain numbers.
        *arg = unsafe { self.0.cast::<T>().read() };
        result
    }

    /// The address of data behind the argument.
    pub fn data(&self) -> u64 {
        u64::from(self.address()) + 1024
    }

    pub fn write(&self, data: &[u8]) {
        // SAFETY: Inside the page.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.0.add(1024), data.len()) };
    }

    pub fn read(&self, length: usize) -> Vec<u8> {
        // SAFETY: Inside the page.
        unsafe { std::slice::from_raw_parts(self.0.add(1024), length) }.to_vec()
    }
}

impl Default for LowPage {
    fn default() -> Self {
        Self::new()
    }
}
