// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT

pub const ALPC_ABI_VERSION: u32 = 0;
pub const ALPC_NAME_MAX: u32 = 255;
pub const ALPC_ACL_MAX: u32 = 256;
pub const ALPC_MESSAGE_DEFAULT: u32 = 4096;
pub const ALPC_MESSAGE_MAX: u32 = 65536;
pub const ALPC_LPC_MESSAGE_MAX: u32 = 256;
pub const ALPC_CALLBACK_DEPTH_MAX: u32 = 64;
pub const ALPC_SECTION_MAX: u32 = 67108864;
pub const ALPC_SECTION_VIEWS_MAX: u32 = 256;
pub const ALPC_VIEWS_LENT_MAX: u32 = 256;
pub const ALPC_WINDOW_ROOM: u32 = 1073741824;
pub const ALPC_WINDOW_VIEWS_MAX: u32 = 4096;
pub const ALPC_WINDOW_SIZE: u64 = 8589934592;
pub const ALPC_HANDLES_MAX: u32 = 512;
pub const ALPC_MEMORY_RANGES_MAX: u32 = 64;
pub const ALPC_LABEL_MAX: u32 = 4095;
pub const ALPC_CONTEXTS_MAX: u32 = 64;
pub const ALPC_TOLD_DEFAULT: u32 = 8388608;
pub const ALPC_PORT_LPC_MODE: u32 = 4096;
pub const ALPC_PORT_ARRIVAL_ORDER: u32 = 1;
pub const ALPC_PORT_ACL: u32 = 2;
pub const ALPC_RIGHT_CONNECT: u32 = 1;
pub const ALPC_RIGHT_VIEW: u32 = 2;
pub const ALPC_RIGHT_HANDLE: u32 = 4;
pub const ALPC_RIGHT_MEMORY: u32 = 8;
pub const ALPC_RIGHT_IMPERSONATE: u32 = 16;
pub const ALPC_RIGHT_CALLBACK: u32 = 32;
pub const ALPC_RIGHT_ALL: u32 = 63;
pub const ALPC_ACL_ALLOW: u32 = 1;
pub const ALPC_ACL_DENY: u32 = 2;
pub const ALPC_ACL_USER: u32 = 1;
pub const ALPC_ACL_GROUP: u32 = 2;
pub const ALPC_ACL_EVERYONE: u32 = 3;
pub const ALPC_ACL_OWNER: u32 = 4;
pub const ALPC_ACL_USER_NS: u32 = 5;
pub const ALPC_TAKE_VIEWS: u32 = 1;
pub const ALPC_TAKE_HANDLES: u32 = 2;
pub const ALPC_TAKE_MEMORY: u32 = 4;
pub const ALPC_TAKE_SECURITY: u32 = 8;
pub const ALPC_TAKE_DIRECT: u32 = 16;
pub const ALPC_TAKE_IDENTITY: u32 = 32;
pub const ALPC_HANDLE_FILE: u32 = 1;
pub const ALPC_HANDLE_DIRECTORY: u32 = 2;
pub const ALPC_HANDLE_PIPE: u32 = 4;
pub const ALPC_HANDLE_EVENTFD: u32 = 8;
pub const ALPC_HANDLE_TIMERFD: u32 = 16;
pub const ALPC_HANDLE_MEMFD: u32 = 32;
pub const ALPC_HANDLE_PIDFD: u32 = 64;
pub const ALPC_HANDLE_SOCKET: u32 = 128;
pub const ALPC_HANDLE_SECTION: u32 = 256;
pub const ALPC_HANDLE_DEVICE: u32 = 512;
pub const ALPC_HANDLE_PATH: u32 = 1024;
pub const ALPC_HANDLE_NAMESPACE: u32 = 2048;
pub const ALPC_HANDLE_DMA_BUF: u32 = 4096;
pub const ALPC_HANDLE_NTSYNC: u32 = 8192;
pub const ALPC_SECURITY_DEFAULT: u32 = 0;
pub const ALPC_SECURITY_ANONYMOUS: u32 = 1;
pub const ALPC_SECURITY_IDENTIFY: u32 = 2;
pub const ALPC_SECURITY_IMPERSONATE: u32 = 3;
pub const ALPC_SECURITY_LEVEL_MASK: u32 = 3;
pub const ALPC_SECURITY_DYNAMIC: u32 = 4;
pub const ALPC_SECURITY_EFFECTIVE_ONLY: u32 = 8;
pub const ALPC_TYPE_REQUEST: u32 = 1;
pub const ALPC_TYPE_REPLY: u32 = 2;
pub const ALPC_TYPE_DATAGRAM: u32 = 3;
pub const ALPC_TYPE_LOST_REPLY: u32 = 4;
pub const ALPC_TYPE_PORT_CLOSED: u32 = 5;
pub const ALPC_TYPE_CLIENT_DIED: u32 = 6;
pub const ALPC_TYPE_CONNECTION_REQUEST: u32 = 10;
pub const ALPC_TYPE_CONNECTION_REPLY: u32 = 11;
pub const ALPC_TYPE_CANCELED: u32 = 12;
pub const ALPC_TYPE_CONNECTION_REFUSED: u32 = 13;
pub const ALPC_TYPE_FLAG_CONTINUATION: u32 = 8192;
pub const ALPC_OUTCOME_OK: u32 = 0;
pub const ALPC_OUTCOME_REFUSED: u32 = 1;
pub const ALPC_OUTCOME_NOT_CONNECTED: u32 = 2;
pub const ALPC_OUTCOME_DISCONNECTED: u32 = 3;
pub const ALPC_OUTCOME_CLOSED: u32 = 4;
pub const ALPC_OUTCOME_LOST: u32 = 5;
pub const ALPC_OUTCOME_CANCELED: u32 = 6;
pub const ALPC_OUTCOME_ALREADY_RECEIVED: u32 = 7;
pub const ALPC_OUTCOME_TIMED_OUT: u32 = 8;
pub const ALPC_OUTCOME_TIMED_OUT_SENT: u32 = 9;
pub const ALPC_OUTCOME_INTERRUPTED: u32 = 10;
pub const ALPC_OUTCOME_INTERRUPTED_SENT: u32 = 11;
pub const ALPC_OUTCOME_NOT_FOUND: u32 = 12;
pub const ALPC_OUTCOME_NOT_OWNER: u32 = 13;
pub const ALPC_OUTCOME_STALE_TURN: u32 = 14;
pub const ALPC_OUTCOME_WRONG_KIND: u32 = 15;
pub const ALPC_OUTCOME_BUFFER_TOO_SMALL: u32 = 16;
pub const ALPC_OUTCOME_TOO_LONG: u32 = 17;
pub const ALPC_OUTCOME_QUEUE_FULL: u32 = 18;
pub const ALPC_OUTCOME_LIMIT: u32 = 19;
pub const ALPC_OUTCOME_NAME_IN_USE: u32 = 20;
pub const ALPC_OUTCOME_NAME_NOT_FOUND: u32 = 21;
pub const ALPC_OUTCOME_ACCESS_DENIED: u32 = 22;
pub const ALPC_OUTCOME_SERVER_MISMATCH: u32 = 23;
pub const ALPC_OUTCOME_TOO_DEEP: u32 = 24;
pub const ALPC_OUTCOME_NOT_TAKEN: u32 = 25;
pub const ALPC_OUTCOME_BAD_HANDLE: u32 = 26;
pub const ALPC_OUTCOME_LENT: u32 = 27;
pub const ALPC_OUTCOME_NOT_A_VIEW: u32 = 28;
pub const ALPC_OUTCOME_NO_WINDOW: u32 = 29;
pub const ALPC_OUTCOME_MEMORY_CLOSED: u32 = 30;
pub const ALPC_OUTCOME_RECEIVER_MISMATCH: u32 = 31;
pub const ALPC_OUTCOME_SENDER_GONE: u32 = 32;
pub const ALPC_OUTCOME_NOT_A_CONTEXT: u32 = 33;
pub const ALPC_OUTCOME_REVOKED: u32 = 34;
pub const ALPC_OUTCOME_NOT_GRANTED: u32 = 35;
pub const ALPC_OUTCOME_BEYOND_REACH: u32 = 36;
pub const ALPC_OUTCOME_NO_CLIENTS: u32 = 37;
pub const ALPC_OUTCOME_TOO_LONG_FOR_REPLY: u32 = 38;
pub const ALPC_TIMEOUT_MASK: u32 = 7;
pub const ALPC_TIMEOUT_INFINITE: u32 = 0;
pub const ALPC_TIMEOUT_RELATIVE: u32 = 1;
pub const ALPC_TIMEOUT_MONOTONIC: u32 = 2;
pub const ALPC_TIMEOUT_BOOTTIME: u32 = 3;
pub const ALPC_TIMEOUT_REALTIME: u32 = 4;
pub const ALPC_ATTR_SECURITY: u32 = 2147483648;
pub const ALPC_ATTR_VIEW: u32 = 1073741824;
pub const ALPC_ATTR_CONTEXT: u32 = 536870912;
pub const ALPC_ATTR_HANDLE: u32 = 268435456;
pub const ALPC_ATTR_TOKEN: u32 = 134217728;
pub const ALPC_ATTR_DIRECT: u32 = 67108864;
pub const ALPC_ATTR_WORK_ON_BEHALF: u32 = 33554432;
pub const ALPC_ATTR_MEMORY: u32 = 16777216;
pub const ALPC_ATTR_RECEIVER: u32 = 8388608;
pub const ALPC_SECURITY_CREATE: u32 = 1;
pub const ALPC_SECURITY_ONCE: u32 = 2;
pub const ALPC_SECURITY_DELETE: u32 = 4;
pub const ALPC_SECURITY_REVOKED: u32 = 8;
pub const ALPC_VIEW_SECURE: u32 = 1;
pub const ALPC_VIEW_AUTO_RELEASE: u32 = 2;
pub const ALPC_HANDLES_CLAIM: u32 = 1;
pub const ALPC_HANDLES_INHERIT: u32 = 2;
pub const ALPC_MEMORY_READ: u32 = 1;
pub const ALPC_MEMORY_WRITE: u32 = 2;
pub const ALPC_MEMORY_NOWAIT: u32 = 4;
pub const ALPC_RECEIVER_UID: u32 = 1;
pub const ALPC_RECEIVER_GID: u32 = 2;
pub const ALPC_FEATURE_PORTS: u32 = 1;
pub const ALPC_FEATURE_IPC_NAMESPACES: u32 = 2;
pub const ALPC_FEATURE_VIEWS: u32 = 4;
pub const ALPC_FEATURE_MEMORY: u32 = 8;
pub const ALPC_FEATURE_HANDLES: u32 = 16;
pub const ALPC_FEATURE_IDENTITY: u32 = 32;
pub const ALPC_FEATURE_ACLS: u32 = 64;
pub const ALPC_FEATURE_SECURITY: u32 = 128;
pub const ALPC_FEATURE_IMPERSONATE: u32 = 256;
pub const ALPC_ACL_NO_LIST: u32 = 1;
pub const ALPC_CONNECT_ASYNC: u32 = 16;
pub const ALPC_CONNECT_REQUIRE_UID: u32 = 32;
pub const ALPC_CONNECT_REQUIRE_GID: u32 = 64;
pub const ALPC_CONNECT_SENT: u32 = 128;
pub const ALPC_CONNECT_REQUIRE_LABEL: u32 = 256;
pub const ALPC_REFUSE: u32 = 1;
pub const ALPC_SEND: u32 = 16;
pub const ALPC_RECEIVE: u32 = 32;
pub const ALPC_SYNC: u32 = 64;
pub const ALPC_RELEASE: u32 = 128;
pub const ALPC_ANSWER: u32 = 256;
pub const ALPC_DISCARD: u32 = 512;
pub const ALPC_NONBLOCK: u32 = 1024;
pub const ALPC_SENT: u32 = 2048;
pub const ALPC_ADOPT: u32 = 4096;
pub const ALPC_HOLD_THREAD: u32 = 8192;
pub const ALPC_CANCEL_TRY: u32 = 1;
pub const ALPC_DISCONNECT_NO_FLUSH: u32 = 1;
pub const ALPC_ROLE_CONNECTION: u32 = 1;
pub const ALPC_ROLE_SERVER: u32 = 2;
pub const ALPC_ROLE_CLIENT: u32 = 3;
pub const ALPC_ROLE_CONNECT: u32 = 4;
pub const ALPC_STATE_OPEN: u32 = 1;
pub const ALPC_STATE_PENDING: u32 = 2;
pub const ALPC_STATE_REFUSED: u32 = 3;
pub const ALPC_STATE_DISCONNECTED: u32 = 4;
pub const ALPC_USER_AS_OWNER: u32 = 1;
pub const ALPC_VIEW_STATE_OWNED: u32 = 1;
pub const ALPC_VIEW_STATE_LENT: u32 = 2;
pub const ALPC_VIEW_STATE_HELD: u32 = 3;
pub const ALPC_USER_NS_SAME: u32 = 1;
pub const ALPC_USER_NS_BELOW: u32 = 2;
pub const ALPC_USER_NS_OTHER: u32 = 3;
pub const ALPC_VERIFY_THREAD: u32 = 1;
pub const ALPC_IOC_MAGIC: u32 = 169;
pub type __u16 = ::core::ffi::c_ushort;
pub type __s32 = ::core::ffi::c_int;
pub type __u32 = ::core::ffi::c_uint;
pub type __u64 = ::core::ffi::c_ulonglong;
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_acl_entry {
    pub type_: __u16,
    pub who: __u16,
    pub id: __u32,
    pub rights: __u32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_attributes {
    pub allocated: __u32,
    pub valid: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_attr_security {
    pub context: __u64,
    pub security: __u32,
    pub flags: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_attr_context {
    pub port_context: __u64,
    pub message_context: __u64,
    pub id: __u64,
    pub sequence: __u64,
    pub callback_id: __u32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_attr_view {
    pub base: __u64,
    pub size: __u64,
    pub release: __u64,
    pub flags: __u32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_handle {
    pub fd: __s32,
    pub kind: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_attr_handle {
    pub handles: __u64,
    pub count: __u32,
    pub flags: __u32,
    pub index: __u32,
    pub error: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_attr_token {
    pub token_id: __u64,
    pub session_id: __u64,
    pub modified_id: __u64,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_memory_range {
    pub base: __u64,
    pub length: __u64,
    pub access: __u32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_attr_memory {
    pub ranges: __u64,
    pub count: __u32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_attr_receiver {
    pub uid: __u32,
    pub gid: __u32,
    pub flags: __u32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_query {
    pub abi_version: __u32,
    pub reserved: __u32,
    pub features: __u64,
    pub ports_per_user: __u32,
    pub connections_per_user: __u32,
    pub conversations_per_user: __u32,
    pub conversations_per_connection: __u32,
    pub queue_messages: __u32,
    pub queue_bytes: __u32,
    pub pending_connections: __u32,
    pub connections_per_port: __u32,
    pub view_pages: __u32,
    pub view_pages_per_user: __u32,
    pub sections_per_port: __u32,
    pub reserved1: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_create_port {
    pub name: __u64,
    pub acl: __u64,
    pub context: __u64,
    pub name_length: __u32,
    pub acl_count: __u32,
    pub flags: __u32,
    pub max_message_length: __u32,
    pub queue_messages: __u32,
    pub queue_bytes: __u32,
    pub max_connections: __u32,
    pub accept: __u32,
    pub outcome: __u32,
    pub handle_kinds: __u32,
    pub told_bytes: __u32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_acl {
    pub entries: __u64,
    pub count: __u32,
    pub flags: __u32,
    pub outcome: __u32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_connect {
    pub name: __u64,
    pub send_data: __u64,
    pub recv_data: __u64,
    pub context: __u64,
    pub name_length: __u32,
    pub send_length: __u32,
    pub recv_capacity: __u32,
    pub required_uid: __u32,
    pub required_gid: __u32,
    pub max_message_length: __u32,
    pub queue_messages: __u32,
    pub queue_bytes: __u32,
    pub accept: __u32,
    pub handle_kinds: __u32,
    pub timeout: __u64,
    pub flags: __u32,
    pub outcome: __u32,
    pub fd: __s32,
    pub recv_length: __u32,
    pub server_pid: __u32,
    pub server_uid: __u32,
    pub server_gid: __u32,
    pub reserved1: __u32,
    pub required_label: __u64,
    pub required_label_length: __u32,
    pub security: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_open {
    pub name: __u64,
    pub name_length: __u32,
    pub flags: __u32,
    pub outcome: __u32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_accept {
    pub id: __u64,
    pub send_data: __u64,
    pub context: __u64,
    pub send_length: __u32,
    pub flags: __u32,
    pub max_message_length: __u32,
    pub queue_messages: __u32,
    pub queue_bytes: __u32,
    pub accept: __u32,
    pub outcome: __u32,
    pub handle_kinds: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_transfer {
    pub send_data: __u64,
    pub recv_data: __u64,
    pub send_attributes: __u64,
    pub recv_attributes: __u64,
    pub send_length: __u32,
    pub recv_capacity: __u32,
    pub send_callback_id: __u32,
    pub reply_bytes: __u32,
    pub timeout: __u64,
    pub flags: __u32,
    pub outcome: __u32,
    pub send_id: __u64,
    pub id: __u64,
    pub callback_id: __u32,
    pub type_: __u16,
    pub type_flags: __u16,
    pub recv_length: __u32,
    pub pid: __u32,
    pub tid: __u32,
    pub uid: __u32,
    pub gid: __u32,
    pub reserved1: __u32,
    pub port_context: __u64,
    pub sequence: __u64,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_cancel {
    pub id: __u64,
    pub flags: __u32,
    pub outcome: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_disconnect {
    pub flags: __u32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_query_port {
    pub role: __u32,
    pub state: __u32,
    pub flags: __u32,
    pub max_message_length: __u32,
    pub queue_messages: __u32,
    pub queue_bytes: __u32,
    pub queued_messages: __u32,
    pub queued_bytes: __u32,
    pub connections: __u32,
    pub conversations: __u32,
    pub context: __u64,
    pub sequence: __u64,
    pub peer_pid: __u32,
    pub peer_uid: __u32,
    pub peer_gid: __u32,
    pub refused: __u32,
    pub sections: __u32,
    pub views: __u32,
    pub told_limit: __u32,
    pub told_bytes: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_gauge {
    pub used: __u32,
    pub limit: __u32,
    pub refused: __u64,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_query_user {
    pub uid: __u32,
    pub flags: __u32,
    pub ports: alpc_gauge,
    pub connections: alpc_gauge,
    pub left_connections: alpc_gauge,
    pub conversations: alpc_gauge,
    pub told_conversations: alpc_gauge,
    pub view_pages: alpc_gauge,
    pub handles: alpc_gauge,
    pub told_handles: alpc_gauge,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_query_connection {
    pub index: __u32,
    pub state: __u32,
    pub context: __u64,
    pub refused: __u64,
    pub pid: __u32,
    pub uid: __u32,
    pub gid: __u32,
    pub conversations: __u32,
    pub to_server_messages: __u32,
    pub to_server_bytes: __u32,
    pub to_client_messages: __u32,
    pub to_client_bytes: __u32,
    pub views_to_server: __u32,
    pub views_to_client: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_create_section {
    pub size: __u64,
    pub flags: __u32,
    pub outcome: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_create_view {
    pub size: __u64,
    pub base: __u64,
    pub offset: __u64,
    pub flags: __u32,
    pub outcome: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_delete_view {
    pub base: __u64,
    pub flags: __u32,
    pub outcome: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_query_view {
    pub base: __u64,
    pub size: __u64,
    pub state: __u32,
    pub flags: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_query_identity {
    pub id: __u64,
    pub groups: __u64,
    pub label: __u64,
    pub cgroup: __u64,
    pub cap_effective: __u64,
    pub cap_permitted: __u64,
    pub cap_inheritable: __u64,
    pub cap_bounding: __u64,
    pub cap_ambient: __u64,
    pub callback_id: __u32,
    pub flags: __u32,
    pub group_count: __u32,
    pub label_length: __u32,
    pub pid: __u32,
    pub tid: __u32,
    pub uid: __u32,
    pub euid: __u32,
    pub suid: __u32,
    pub fsuid: __u32,
    pub gid: __u32,
    pub egid: __u32,
    pub sgid: __u32,
    pub fsgid: __u32,
    pub loginuid: __u32,
    pub session: __u32,
    pub user_ns: __u32,
    pub outcome: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_verify {
    pub id: __u64,
    pub callback_id: __u32,
    pub flags: __u32,
    pub outcome: __u32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_security {
    pub context: __u64,
    pub security: __u32,
    pub flags: __u32,
    pub outcome: __u32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_impersonate {
    pub id: __u64,
    pub callback_id: __u32,
    pub flags: __u32,
    pub outcome: __u32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_claim {
    pub id: __u64,
    pub handles: __u64,
    pub callback_id: __u32,
    pub index: __u32,
    pub count: __u32,
    pub flags: __u32,
    pub claimed: __u32,
    pub outcome: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct alpc_memory {
    pub id: __u64,
    pub data: __u64,
    pub offset: __u64,
    pub length: __u64,
    pub callback_id: __u32,
    pub index: __u32,
    pub flags: __u32,
    pub outcome: __u32,
    pub done: __u64,
    pub timeout: __u64,
    pub timeout_flags: __u32,
    pub reserved: __u32,
}
pub const ALPC_IOCTL_QUERY: alpc_ioctl = 3225463040;
pub const ALPC_IOCTL_CREATE_PORT: alpc_ioctl = 3225987329;
pub const ALPC_IOCTL_CONNECT: alpc_ioctl = 3229657346;
pub const ALPC_IOCTL_OPEN: alpc_ioctl = 3222841603;
pub const ALPC_IOCTL_QUERY_USER: alpc_ioctl = 3230181636;
pub const ALPC_IOCTL_QUERY_CONNECTION: alpc_ioctl = 3225463060;
pub const ALPC_IOCTL_CREATE_CONNECT: alpc_ioctl = 43280;
pub const ALPC_IOCTL_ACCEPT: alpc_ioctl = 3224938769;
pub const ALPC_IOCTL_QUERY_ACL: alpc_ioctl = 3222841618;
pub const ALPC_IOCTL_SET_ACL: alpc_ioctl = 3222841619;
pub const ALPC_IOCTL_SEND_WAIT_RECEIVE: alpc_ioctl = 3229657376;
pub const ALPC_IOCTL_CANCEL: alpc_ioctl = 3222317345;
pub const ALPC_IOCTL_DISCONNECT: alpc_ioctl = 1074309410;
pub const ALPC_IOCTL_QUERY_PORT: alpc_ioctl = 3227035939;
pub const ALPC_IOCTL_CREATE_SECTION: alpc_ioctl = 3222317348;
pub const ALPC_IOCTL_DELETE_VIEW: alpc_ioctl = 3222317349;
pub const ALPC_IOCTL_QUERY_VIEW: alpc_ioctl = 3222841640;
pub const ALPC_IOCTL_QUERY_IDENTITY: alpc_ioctl = 3230705961;
pub const ALPC_IOCTL_VERIFY: alpc_ioctl = 3222841642;
pub const ALPC_IOCTL_CLAIM: alpc_ioctl = 3223890214;
pub const ALPC_IOCTL_MEMORY: alpc_ioctl = 3225987367;
pub const ALPC_IOCTL_CREATE_SECURITY: alpc_ioctl = 3222841643;
pub const ALPC_IOCTL_DELETE_SECURITY: alpc_ioctl = 3222841644;
pub const ALPC_IOCTL_REVOKE_SECURITY: alpc_ioctl = 3222841645;
pub const ALPC_IOCTL_IMPERSONATE: alpc_ioctl = 3222841646;
pub const ALPC_IOCTL_REVERT: alpc_ioctl = 43311;
pub const ALPC_IOCTL_CREATE_VIEW: alpc_ioctl = 3223365936;
pub type alpc_ioctl = ::core::ffi::c_uint;
