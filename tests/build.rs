// SPDX-License-Identifier: MIT OR Apache-2.0

//! Compiles the C client of the tests, from the header alone.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let source = "c/client.c";
    let header = "../uapi";
    println!("cargo:rerun-if-changed={source}");
    println!("cargo:rerun-if-changed={header}/alpc.h");
    println!("cargo:rerun-if-env-changed=CC");
    let compiler = env::var("CC").unwrap_or("cc".into());
    let out = PathBuf::from(env::var("OUT_DIR").expect("OUT_DIR")).join("alpc-c-client");
    // Static, since the guest has no C library.
    let status = Command::new(&compiler)
        .args(["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"])
        .args(["-O1", "-static", "-I", header, "-o"])
        .arg(&out)
        .arg(source)
        .status()
        .unwrap_or_else(|e| panic!("{compiler}: {e}"));
    assert!(status.success(), "{compiler} {source}: {status}");
    println!("cargo:rustc-env=ALPC_C_CLIENT={}", out.display());
}
