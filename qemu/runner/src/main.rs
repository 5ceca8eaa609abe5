// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packs the test guest, boots it under QEMU and judges the outcome.
//!
//! ```text
//! alpc-vm boot --name NAME --mode MODE --init FILE --module FILE --busybox FILE
//!              [--driver FILE]... [--policy FILE] [--tests MESSAGES]... [--bins MESSAGES]... [--run MESSAGES]...
//!              [--program FILE]... [--cpus N] [--memory SIZE] [--hardened] [--icount] [--counted]
//!              [--interactive]
//!              [--record] [--plugin FILE] [--only NAME] [--binary NAME]... [--skip NAME]...
//!              [--timeout S] [--env K=V]... [--cmd TEXT]
//! alpc-vm tables [--check]
//! alpc-vm crate METADATA USERLIB
//! ```
//!
//! MESSAGES is a file with what `cargo --message-format=json` wrote: its test
//! executables go to /tests, or its programs to /bin or to /run. Logs and the
//! result go to `target/qemu/NAME/`. QEMU is started through `qemu/qemu.sh`,
//! which runs it in the root: there the repository is /repo, the kernel /kernel.
//!
//! `tables` makes the tables of documents from the committed baseline of the
//! benchmark; with `--check` it only says whether they are those.
//!
//! `crate` reads what `cargo metadata` wrote of somebody's crate, and refuses one that has
//! another package than that in the directory USERLIB for `alpc`.

mod accel;
mod artifacts;
mod bench;
mod clock;
mod foreign;
mod guest;
mod initramfs;
mod options;
mod scan;
mod verdict;

use options::Options;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tables"] => return bench::document::write_all().map(|()| true),
        ["tables", "--check"] => return bench::document::check_all(),
        ["crate", metadata, userlib] => return foreign::check(metadata, userlib).map(|()| true),
        _ => {}
    }
    let options = Options::parse(args.into_iter())?;
    let dir = Path::new("target/qemu").join(&options.name);
    // A result or a log of an earlier boot must not pass for this one's.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;

    let mut options = options;
    let image = artifacts::image(&mut options)?;
    let initramfs = dir.join("initramfs.cpio");
    std::fs::write(&initramfs, image).map_err(|e| format!("{}: {e}", initramfs.display()))?;

    let accel = accel::choose(&options)?;
    options.env.extend(accel::time(&options, accel));
    let start = Instant::now();
    let outcome = guest::boot(&options, accel, &dir)?;
    let verdict = verdict::judge(&options, &outcome);
    let mut problems = String::new();
    for problem in &verdict.problems {
        problems += &format!("{}: {problem}\n", options.name);
    }
    print!("{problems}");
    std::fs::write(dir.join("problems"), problems).map_err(|e| format!("problems: {e}"))?;
    let mut ok = verdict.problems.is_empty();
    if options.mode == "bench" && ok {
        ok = match bench::collect(&outcome.guest, &options, &dir) {
            Ok(ok) => ok,
            Err(why) => {
                println!("{}: {why}", options.name);
                false
            }
        };
    }
    if options.mode == "clock" && ok {
        ok = match clock::unpack(&dir, accel) {
            Ok(()) => true,
            Err(why) => {
                println!("{}: {why}", options.name);
                false
            }
        };
    }
    if options.mode == "test" {
        println!(
            "{}: {} passed, {} failed",
            options.name, verdict.passed, verdict.failed
        );
    }
    let summary = format!(
        "{} {} {}\n",
        verdict.passed,
        verdict.failed,
        start.elapsed().as_secs()
    );
    std::fs::write(dir.join("result"), summary).map_err(|e| format!("result: {e}"))?;
    println!(
        "{}: {} after {:.1} s ({accel}, {} CPU, logs in {})",
        options.name,
        if ok { "ok" } else { "FAILED" },
        start.elapsed().as_secs_f64(),
        options.cpus,
        dir.display()
    );
    Ok(ok)
}
