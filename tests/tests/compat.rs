// SPDX-License-Identifier: MIT OR Apache-2.0

//! Calls of 32-bit programs: the structures have one layout for all.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use alpc_tests::low::{ioctl32, LowPage};
use alpc_tests::raw::*;
use alpc_tests::*;

fn port(fd: i32) -> Port {
    // SAFETY: An ioctl just returned it.
    Port::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[test]
fn a_32_bit_program_does_all_that_a_64_bit_one_does() {
    isolated(|| {
        let page = LowPage::new();
        let device = device();
        let mut query = alpc_query::default();
        match page.call(&device, ALPC_IOCTL_QUERY, &mut query) {
            Err(libc::ENOSYS) => {
                note!("no 32-bit system calls here");
                return;
            }
            result => assert_eq!(result, Ok(0)),
        }
        assert_eq!(query.queue_messages, raw::query().queue_messages);

        page.write(b"compat/port");
        let mut create = alpc_create_port {
            accept: ALPC_TAKE_HANDLES,
            name: page.data(),
            name_length: 11,
            context: 0x1234_5678_9abc_def0,
            ..Default::default()
        };
        let fd = page.call(&device, ALPC_IOCTL_CREATE_PORT, &mut create);
        let server = port(fd.expect("create"));
        let through = port(ioctl32(&server, ALPC_IOCTL_CREATE_CONNECT, 0).expect("connector"));
        let mut connect = alpc_connect {
            flags: ALPC_CONNECT_ASYNC,
            fd: -1,
            context: u64::MAX,
            ..Default::default()
        };
        let fd = page.call(&through, ALPC_IOCTL_CONNECT, &mut connect);
        let client = port(fd.expect("connect"));

        let mut receive = alpc_transfer {
            flags: ALPC_RECEIVE,
            ..Default::default()
        };
        let result = page.call(&server, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut receive);
        assert_eq!(result, Ok(0));
        assert_eq!(u32::from(receive.type_), ALPC_TYPE_CONNECTION_REQUEST);
        assert_eq!(receive.port_context, 0x1234_5678_9abc_def0);
        let mut accept = alpc_accept {
            id: receive.id,
            ..Default::default()
        };
        let fd = page.call(&server, ALPC_IOCTL_ACCEPT, &mut accept);
        let _connection = port(fd.expect("accept"));
        assert_eq!(client.receive().expect("receive").port_context, u64::MAX);

        page.write(b"from 32 bits");
        let mut send = alpc_transfer {
            flags: ALPC_SEND,
            send_data: page.data(),
            send_length: 12,
            ..Default::default()
        };
        let result = page.call(&client, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut send);
        assert_eq!(result, Ok(0));
        let request = server.receive().expect("receive");
        assert_eq!(
            (request.id, request.data.as_slice()),
            (send.send_id, &b"from 32 bits"[..])
        );
        server.reply(&request, b"from 64 bits").expect("reply");
        let mut receive = alpc_transfer {
            flags: ALPC_RECEIVE,
            recv_data: page.data(),
            recv_capacity: 64,
            ..Default::default()
        };
        let result = page.call(&client, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut receive);
        assert_eq!((result, receive.recv_length), (Ok(0), 12));
        assert_eq!(page.read(12), b"from 64 bits");

        // Nobody offers memory here, and the structure is the same.
        let mut memory = alpc_memory {
            id: send.send_id,
            flags: ALPC_MEMORY_READ,
            done: u64::MAX,
            ..Default::default()
        };
        let result = page.call(&server, ALPC_IOCTL_MEMORY, &mut memory);
        assert_eq!(
            (result, memory.outcome, memory.done),
            (Err(libc::ENOENT), ALPC_OUTCOME_NOT_FOUND, 0)
        );
        let file = files::eventfd();
        let attribute = alpc_attr_handle {
            handles: page.data() + 32,
            count: 1,
            ..Default::default()
        };
        #[repr(C)]
        struct Container(alpc_attributes, alpc_attr_handle, alpc_handle);
        let head = alpc_attributes {
            allocated: ALPC_ATTR_HANDLE,
            valid: ALPC_ATTR_HANDLE,
        };
        let fd = file.as_raw_fd();
        let container = Container(head, attribute, alpc_handle { fd, kind: 0 });
        // SAFETY: Plain numbers without padding.
        page.write(unsafe { &std::mem::transmute::<Container, [u8; 40]>(container) });
        let mut with_handle = alpc_transfer {
            flags: ALPC_SEND,
            send_attributes: page.data(),
            ..Default::default()
        };
        let result = page.call(&client, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut with_handle);
        assert_eq!(result, Ok(0));
        let request = server.receive().expect("receive");
        let mut claim = alpc_claim {
            id: request.id,
            callback_id: request.callback_id,
            handles: page.data(),
            count: 1,
            ..Default::default()
        };
        let result = page.call(&server, ALPC_IOCTL_CLAIM, &mut claim);
        assert_eq!((result, claim.claimed), (Ok(0), 1));
        let entry = page.read(8);
        let claimed = i32::from_ne_bytes(entry[..4].try_into().expect("four bytes"));
        assert!(files::same(&file, &files::adopt(claimed.into())));
        server.reply(&request, b"").expect("reply");
        client.receive().expect("receive");

        let mut cancel = alpc_cancel {
            id: send.send_id,
            ..Default::default()
        };
        let result = page.call(&client, ALPC_IOCTL_CANCEL, &mut cancel);
        assert_eq!(
            (result, cancel.outcome),
            (Err(libc::ENOENT), ALPC_OUTCOME_NOT_FOUND)
        );
        let mut query = alpc_query_port::default();
        assert_eq!(page.call(&client, ALPC_IOCTL_QUERY_PORT, &mut query), Ok(0));
        assert_eq!((query.role, query.context), (ALPC_ROLE_CLIENT, u64::MAX));
        let mut disconnect = alpc_disconnect::default();
        assert_eq!(
            page.call(&client, ALPC_IOCTL_DISCONNECT, &mut disconnect),
            Ok(0)
        );
        assert_eq!(
            server.receive().expect("receive").kind,
            ALPC_TYPE_PORT_CLOSED
        );
    });
}

#[test]
fn a_32_bit_program_has_its_views_where_it_can_reach_them() {
    isolated(|| {
        let pair = Pair::taking(ALPC_TAKE_VIEWS);
        let page = LowPage::new();
        let mut create = alpc_create_section {
            size: 3 * 4096,
            ..Default::default()
        };
        let section = match page.call(&pair.client, ALPC_IOCTL_CREATE_SECTION, &mut create) {
            Err(libc::ENOSYS) => {
                note!("no 32-bit system calls here");
                return;
            }
            fd => port(fd.expect("section")),
        };
        let mut view = alpc_create_view {
            size: 5000,
            ..Default::default()
        };
        assert_eq!(
            page.call(&section, ALPC_IOCTL_CREATE_VIEW, &mut view),
            Ok(0)
        );
        assert_eq!(view.size, 8192);
        assert!(view.base < 1 << 32, "{:#x}", view.base);
        let (base, size) = (view.base, view.size);
        View { base, size }.fill(7);
        let lending = ViewContainer::lending(base, size, ALPC_VIEW_SECURE);
        // SAFETY: Plain numbers without padding.
        page.write(unsafe { &std::mem::transmute::<ViewContainer, [u8; 40]>(lending) });
        let mut send = alpc_transfer {
            flags: ALPC_SEND | ALPC_RELEASE,
            send_attributes: page.data(),
            ..Default::default()
        };
        let result = page.call(&pair.client, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut send);
        assert_eq!(result, Ok(0));
        let room = alpc_attributes {
            allocated: ALPC_ATTR_VIEW,
            valid: 0,
        };
        // SAFETY: As above.
        page.write(unsafe { &std::mem::transmute::<alpc_attributes, [u8; 8]>(room) });
        let mut receive = alpc_transfer {
            flags: ALPC_RECEIVE,
            recv_attributes: page.data(),
            ..Default::default()
        };
        let result = page.call(&pair.port, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut receive);
        assert_eq!(result, Ok(0));
        let bytes: [u8; 40] = page.read(40).try_into().expect("a container");
        // SAFETY: As above.
        let container: ViewContainer = unsafe { std::mem::transmute(bytes) };
        let held = container.received().expect("a view");
        assert!(held.base < 1 << 32, "{:#x}", held.base);
        let (base, size) = (held.base, held.size);
        assert_eq!(View { base, size }.read(0, 8192), [7; 8192]);
        let mut delete = alpc_delete_view {
            base,
            ..Default::default()
        };
        let result = page.call(&pair.port, ALPC_IOCTL_DELETE_VIEW, &mut delete);
        assert_eq!(result, Ok(0));
        assert!(!View { base, size }.readable(0));
    });
}

#[test]
fn a_32_bit_program_reads_what_a_caller_offers_and_says_how_long_it_waits() {
    isolated(|| {
        let page = LowPage::new();
        let mut query = alpc_query::default();
        if page.call(&device(), ALPC_IOCTL_QUERY, &mut query) == Err(libc::ENOSYS) {
            note!("no 32-bit system calls here");
            return;
        }
        let pair = Pair::taking(ALPC_TAKE_MEMORY);
        let (there, held) = (b"of a caller's".to_vec(), hang::Hang::new(1));
        let offered = Ranges::of(&[
            (there.as_ptr() as u64, there.len(), ALPC_MEMORY_READ),
            (held.address(), 8, ALPC_MEMORY_READ),
        ]);
        let call = || Transfer::offering(&offered).run(&pair.client);
        let answered = wait::asleep(call, || {
            let request = pair.port.receive().expect("receive");
            let read = |index: u32, length: usize, flags: u32, timeout: Option<u64>| {
                let mut arg = memory_argument(&request, index, ALPC_MEMORY_READ | flags);
                (arg.data, arg.length) = (page.data(), length as u64);
                if let Some(timeout) = timeout {
                    (arg.timeout, arg.timeout_flags) = (timeout, ALPC_TIMEOUT_RELATIVE);
                }
                let result = page.call(&pair.port, ALPC_IOCTL_MEMORY, &mut arg);
                (result, arg.done)
            };
            let length = there.len();
            let second = Some(1_000_000_000);
            assert_eq!(read(0, length, 0, second), (Ok(0), length as u64));
            assert_eq!(page.read(length), there);
            let no_wait = ALPC_MEMORY_NOWAIT;
            assert_eq!(read(0, length, no_wait, None), (Ok(0), length as u64));
            assert_eq!(read(0, length, no_wait, second).0, Err(libc::EINVAL));
            assert_eq!(read(1, 8, no_wait, None), (Err(libc::EAGAIN), 0));
            assert_eq!(read(1, 8, 0, Some(1_000_000)), (Err(libc::ETIMEDOUT), 0));
            held.end();
            pair.port.reply(&request, b"").expect("reply");
        });
        answered.expect("a reply");
    });
}
