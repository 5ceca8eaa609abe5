// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a round trip costs, ALPC beside what Linux has, in one boot. A row
//! that can't be measured ends the run with a failure.

fn main() {
    let rows = alpc_tests::bench::all();
    alpc_tests::bench::print(&rows);
    alpc_tests::bench::phases::trace();
}
