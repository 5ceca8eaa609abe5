// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the tests need beside their own sources.

mod c;
mod pages;

fn main() {
    c::compile_all();
    pages::cut();
}
