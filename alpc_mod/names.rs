// SPDX-License-Identifier: GPL-2.0

//! The names of ports: one table for all IPC namespaces, and each name in one of them.
//!
//! The table holds a reference to what it names, so an entry has to be taken out by the owner's
//! release, not by its drop. Users can fill it with names as they like. A name is found by a number
//! of its bytes that nobody can foresee, and by its namespace. So bytes are compared only with what
//! agrees in both, which is the name itself but for chance; and nobody can choose what else is near
//! it, apart from the same bytes in other namespaces.
#![deny(unsafe_code)]

use crate::{
    buffer::{
        charged,
        read_bytes, //
    },
    caller::{
        ipc_namespace_id,
        Caller, //
    },
    logic::name,
    secret,
    shards::{
        ShardKey,
        Shards, //
    },
    shared::shared, //
};
use core::cmp::Ordering;
use kernel::{
    new_spinlock,
    prelude::*,
    rbtree::{
        Entry,
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::Arc, //
};

/// A well-formed name and the IPC namespace it is in.
///
/// Immutable; clones share the bytes.
#[derive(Clone)]
pub(crate) struct PortName {
    /// Of its bytes.
    hash: u64,
    namespace: u64,
    bytes: Arc<KVec<u8>>,
}

impl PortName {
    /// Reads a name from user space. It is in the caller's IPC namespace.
    ///
    /// `EINVAL` if it is not well-formed; `EFAULT`, `ENOMEM`.
    pub(crate) fn from_user(addr: u64, length: u32) -> Result<Self> {
        if usize::try_from(length)? > name::MAX_LENGTH {
            return Err(EINVAL);
        }
        let bytes = read_bytes(addr, length)?;
        name::check(&bytes).map_err(|_| EINVAL)?;
        Ok(Self {
            hash: secret::hash(&bytes),
            namespace: ipc_namespace_id(),
            bytes: shared(bytes)?,
        })
    }

    /// The name as text.
    pub(crate) fn as_str(&self) -> &str {
        // A name was checked when it was made, so there is no error to speak of.
        core::str::from_utf8(&self.bytes).unwrap_or_default()
    }

    /// Whether the caller may make a port of this name, which it has just read.
    ///
    /// That is decided where the name is: by ids and capabilities of the user namespace that owns
    /// the IPC namespace. In another user namespace, root is nobody there.
    pub(crate) fn may_be_made(&self) -> bool {
        let caller = Caller::current();
        name::may_make(self.as_str(), caller.uid_among_names(), || {
            caller.may_make_any_name()
        })
    }

    /// What names are told apart by.
    fn key(&self) -> (u64, u64, &[u8]) {
        (self.hash, self.namespace, &self.bytes)
    }
}

impl PartialEq for PortName {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for PortName {}

impl PartialOrd for PortName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PortName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl ShardKey for PortName {
    fn spread(&self) -> u64 {
        self.hash
    }
}

/// Memory for one name in the table.
pub(crate) type Room<T> = RBTreeNodeReservation<PortName, Arc<T>>;

/// The table of names, and what each of them names.
#[pin_data]
pub(crate) struct Names<T: Send + Sync + 'static> {
    #[pin]
    table: Shards<PortName, Arc<T>>,
}

impl<T: Send + Sync + 'static> Names<T> {
    /// An empty table.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                table <- Shards::new(|| new_spinlock!(RBTree::new(), "Names::table")),
            }),
            GFP_KERNEL,
        )
    }

    /// Room for one more name. `ENOMEM`.
    pub(crate) fn room() -> Result<Room<T>> {
        // A little more than an entry.
        let size = 2 * size_of::<(PortName, Arc<T>)>();
        charged(size, RBTreeNodeReservation::new)
    }

    /// Gives an object a name, and says whether it was free.
    pub(crate) fn insert(&self, name: &PortName, object: Arc<T>, room: Room<T>) -> bool {
        let mut table = self.table.of(name).lock();
        // What is not needed of all this is dropped when the lock is released. The key may be
        // dropped before: the caller has the name.
        let is_free = match table.entry(name.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(object, room);
                true
            }
            Entry::Occupied(_) => false,
        };
        drop(table);
        is_free
    }

    /// What has this name now. It may be on its way out.
    pub(crate) fn lookup(&self, name: &PortName) -> Option<Arc<T>> {
        self.table.of(name).lock().get(name).cloned()
    }

    /// Takes a name from an object. Does nothing if the name is not, or no longer, this object's.
    pub(crate) fn remove(&self, name: &PortName, object: &T) {
        let mut table = self.table.of(name).lock();
        let entry = table
            .find_mut(name)
            .filter(|entry| core::ptr::eq(&**entry.get(), object));
        let node = entry.map(|entry| entry.remove_node());
        drop(table);
        // What the reference kept alive may need the table at its end.
        drop(node);
    }
}
