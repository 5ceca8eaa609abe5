// SPDX-License-Identifier: GPL-2.0

//! Views.
#![deny(unsafe_code)]

use crate::{
    comm::Connection,
    logic::engine::Side,
    outcome::Failure,
    uapi, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// A view that is lent.
pub(crate) struct Loan {}

impl Loan {
    pub(crate) fn end(&self) {}
}

/// A received view.
pub(crate) struct Placed {}

impl Placed {
    pub(crate) fn keep(self) {}
}

/// Whether the fields of a sender's attribute make sense together.
pub(crate) fn is_valid(_ask: &uapi::alpc_attr_view) -> bool {
    true
}

pub(crate) fn send(
    _ask: &uapi::alpc_attr_view,
    _connection: &Arc<Connection>,
    _to: Side,
) -> Result<Option<Arc<Loan>>, Failure> {
    Err(EOPNOTSUPP.into())
}

/// Where received views appear.
pub(crate) struct WindowRef {}

impl WindowRef {
    pub(crate) const fn new() -> Self {
        Self {}
    }

    pub(crate) fn place(
        &self,
        _loan: &Arc<Loan>,
    ) -> Result<(Placed, uapi::alpc_attr_view), Failure> {
        Err(EOPNOTSUPP.into())
    }
}
