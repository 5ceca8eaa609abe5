// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sections and views, and the attribute that lends one.

use std::os::fd::{AsFd, AsRawFd};

use alpc_uapi::*;

use super::{adopt, ioctl, Failure, Message, Port, Transfer, JUNK32, JUNK64};

/// A container with the VIEW attribute.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ViewContainer {
    pub head: alpc_attributes,
    pub view: alpc_attr_view,
}

impl ViewContainer {
    /// What a sender gives that lends `size` bytes at `base`.
    pub fn lending(base: u64, size: u64, flags: u32) -> Self {
        Self {
            head: alpc_attributes {
                allocated: ALPC_ATTR_VIEW,
                valid: ALPC_ATTR_VIEW,
            },
            view: alpc_attr_view {
                base,
                size,
                flags,
                ..Default::default()
            },
        }
    }

    /// What a sender gives that releases the view at `base`.
    pub fn releasing(base: u64) -> Self {
        let mut this = Self::lending(0, 0, 0);
        this.view.release = base;
        this
    }

    /// What a receiver gives: room, full of junk.
    pub fn receiving() -> Self {
        Self {
            head: alpc_attributes {
                allocated: ALPC_ATTR_VIEW,
                valid: JUNK32,
            },
            view: alpc_attr_view {
                base: JUNK64,
                size: JUNK64,
                release: JUNK64,
                flags: JUNK32,
                reserved: JUNK32,
            },
        }
    }

    pub fn address(&mut self) -> u64 {
        std::ptr::from_mut(self) as u64
    }

    /// The view that was received.
    pub fn received(&self) -> Option<alpc_attr_view> {
        match self.head.valid {
            0 => None,
            ALPC_ATTR_VIEW => {
                assert_eq!((self.view.release, self.view.reserved), (0, 0));
                Some(self.view)
            }
            valid => panic!("valid: {valid:#x}"),
        }
    }
}

/// A view of one's own, or a received one, in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub base: u64,
    pub size: u64,
}

impl View {
    /// The bytes, read one by one where they are.
    pub fn read(&self, at: usize, len: usize) -> Vec<u8> {
        assert!(at + len <= self.size as usize);
        (at..at + len).map(|at| self.get(at)).collect()
    }

    pub fn get(&self, at: usize) -> u8 {
        // SAFETY: Within a view that the test may read, or is about to die for it.
        unsafe { (self.base as *const u8).add(at).read_volatile() }
    }

    pub fn set(&self, at: usize, byte: u8) {
        // SAFETY: As for `get`.
        unsafe { (self.base as *mut u8).add(at).write_volatile(byte) }
    }

    pub fn fill(&self, byte: u8) {
        (0..self.size as usize).for_each(|at| self.set(at, byte));
    }

    /// Whether the kernel can read the byte for this process, as a system call would.
    pub fn readable(&self, at: usize) -> bool {
        let (_reader, writer) = crate::views::pipe();
        // SAFETY: The kernel checks the address.
        done(unsafe { libc::write(writer.as_raw_fd(), self.address(at), 1) })
    }

    /// Whether the kernel can write the byte for this process. If so it is `byte` now.
    pub fn writable(&self, at: usize, byte: u8) -> bool {
        let (reader, writer) = crate::views::pipe();
        // SAFETY: A live byte.
        let put = unsafe { libc::write(writer.as_raw_fd(), (&raw const byte).cast(), 1) };
        assert_eq!(put, 1);
        // SAFETY: The kernel checks the address.
        done(unsafe { libc::read(reader.as_raw_fd(), self.address(at).cast_mut(), 1) })
    }

    fn address(&self, at: usize) -> *const libc::c_void {
        (self.base as *const libc::c_void).wrapping_byte_add(at)
    }
}

/// Whether a system call has moved its one byte; else it must have refused the address.
fn done(result: isize) -> bool {
    let error = std::io::Error::last_os_error().raw_os_error();
    assert!(result == 1 || error == Some(libc::EFAULT), "{error:?}");
    result == 1
}

impl Port {
    /// A section made on this port.
    pub fn section(&self, size: u64) -> Result<Port, Failure> {
        let mut arg = alpc_create_section {
            size,
            flags: 0,
            outcome: JUNK32,
        };
        let result = ioctl(self, ALPC_IOCTL_CREATE_SECTION, &mut arg);
        let outcome = arg.outcome;
        let fd = result.map_err(|errno| Failure { errno, outcome })?;
        assert_eq!(outcome, ALPC_OUTCOME_OK);
        assert!(arg.size >= size && arg.size % 4096 == 0);
        Ok(adopt(fd))
    }

    /// A view in this section.
    pub fn view(&self, size: u64) -> Result<View, Failure> {
        let mut arg = alpc_create_view {
            size,
            base: JUNK64,
            offset: JUNK64,
            flags: 0,
            outcome: JUNK32,
        };
        let result = ioctl(self, ALPC_IOCTL_CREATE_VIEW, &mut arg);
        let outcome = arg.outcome;
        result.map_err(|errno| Failure { errno, outcome })?;
        assert_eq!(outcome, ALPC_OUTCOME_OK);
        assert!(arg.size >= size && arg.size % 4096 == 0);
        assert!(arg.offset % 4096 == 0 && arg.base % 4096 == 0);
        Ok(View {
            base: arg.base,
            size: arg.size,
        })
    }

    /// Deletes an own view, or releases a received one.
    pub fn delete_view(&self, base: u64) -> Result<(), Failure> {
        let mut arg = alpc_delete_view {
            base,
            flags: 0,
            outcome: JUNK32,
        };
        let result = ioctl(self, ALPC_IOCTL_DELETE_VIEW, &mut arg);
        let outcome = arg.outcome;
        result
            .map(|_| ())
            .map_err(|errno| Failure { errno, outcome })
    }

    /// What a view is: its size, state and flags.
    pub fn query_view(&self, base: u64) -> Result<(u64, u32, u32), i32> {
        let mut arg = alpc_query_view {
            base,
            size: JUNK64,
            state: JUNK32,
            flags: JUNK32,
        };
        ioctl(self, ALPC_IOCTL_QUERY_VIEW, &mut arg)?;
        Ok((arg.size, arg.state, arg.flags))
    }

    /// The next message, and the view that came with it.
    pub fn receive_view(&self) -> Result<(Message, Option<View>), Failure> {
        let mut container = ViewContainer::receiving();
        let mut transfer = Transfer::new().receive();
        transfer.arg.recv_attributes = container.address();
        let message = transfer.run(self)?;
        let view = container.received().map(|view| View {
            base: view.base,
            size: view.size,
        });
        Ok((message, view))
    }
}

impl Transfer {
    /// Lends a whole view.
    pub fn lend(self, port: &impl AsFd, view: View, flags: u32) -> Result<Message, Failure> {
        let mut container = ViewContainer::lending(view.base, view.size, flags);
        self.with(port, &mut container)
    }

    /// Sends with this container.
    pub fn with(
        mut self,
        port: &impl AsFd,
        container: &mut ViewContainer,
    ) -> Result<Message, Failure> {
        self.arg.send_attributes = container.address();
        self.run(port)
    }
}
