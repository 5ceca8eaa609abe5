// SPDX-License-Identifier: MIT OR Apache-2.0

//! Compiles the C programs of the tests, and the examples in C, from the header alone.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const HEADER: &str = "../uapi";

/// Compiles one file, whose program the tests find by the environment's `name`.
fn compile(source: &str, name: &str) {
    println!("cargo:rerun-if-changed={source}");
    let compiler = env::var("CC").unwrap_or("cc".into());
    let out = PathBuf::from(env::var("OUT_DIR").expect("OUT_DIR")).join(name);
    // Static, since the guest has no C library.
    let status = Command::new(&compiler)
        .args(["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"])
        .args(["-O1", "-static", "-I", HEADER, "-o"])
        .arg(&out)
        .arg(source)
        .status()
        .unwrap_or_else(|e| panic!("{compiler}: {e}"));
    assert!(status.success(), "{compiler} {source}: {status}");
    println!("cargo:rustc-env={name}={}", out.display());
}

pub fn compile_all() {
    println!("cargo:rerun-if-changed={HEADER}/alpc.h");
    println!("cargo:rerun-if-env-changed=CC");
    compile("c/client.c", "ALPC_C_CLIENT");
    println!("cargo:rerun-if-changed=c/counter.h");
    compile("c/counter_client.c", "ALPC_C_COUNTER_CLIENT");
    compile("c/counter_server.c", "ALPC_C_COUNTER_SERVER");
    compile("../userlib/c/examples/client.c", "ALPC_C_EXAMPLE_CLIENT");
    compile("../userlib/c/examples/server.c", "ALPC_C_EXAMPLE_SERVER");
}
