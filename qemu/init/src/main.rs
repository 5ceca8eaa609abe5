// SPDX-License-Identifier: MIT OR Apache-2.0
//! PID 1 of the test guest.
//!
//! Everything comes from the initramfs: `/alpc.ko`, test binaries in `/tests`,
//! tools in `/bin`, a policy of SELinux in `/policy` if there is one, further modules that a benchmark or tests want in `/drivers`. The
//! kernel's command line says what to do:
//!
//! ```text
//! alpc_mode=test|demo|shell|bench|clock|run   what to run
//! alpc_filter=NAME                            passed to every test binary
//! alpc_timeout=SECONDS                        for each binary
//! alpc_terminal=1                             a person has the console
//! alpc_env.NAME=VALUE                         exported to what is run
//! alpc.NAME=VALUE                             a parameter of the module
//! ```
//!
//! The kernel's console is the first serial port and belongs to the kernel
//! alone; what is run here speaks through the second, so that neither can tear
//! the other's lines. The last line is `init: success` or `init: failure`, and
//! the exit status of QEMU says the same once more.

mod leaks;
mod modes;
mod module;
mod process;
mod setup;

use std::time::Duration;

/// What the kernel command line asks for.
pub struct Config {
    pub mode: String,
    pub filter: Option<String>,
    pub timeout: Duration,
    pub terminal: bool,
}

fn main() {
    if std::process::id() != 1 {
        eprintln!("this is the init of a test guest, not a program to run");
        std::process::exit(2);
    }
    let ok = match boot() {
        Ok(config) => modes::run(&config),
        Err(why) => {
            println!("init: {why}");
            false
        }
    };
    println!("init: {}", if ok { "success" } else { "failure" });
    setup::power_off(ok)
}

fn boot() -> Result<Config, String> {
    setup::mount_early()?;
    let cmdline =
        std::fs::read_to_string("/proc/cmdline").map_err(|e| format!("/proc/cmdline: {e}"))?;
    let config = parse(&cmdline);
    setup::open_console(modes::CONSOLE)?;
    setup::mount_rest()?;
    setup::load_policy()?;
    setup::identity_and_limits()?;
    module::load()?;
    Ok(config)
}

/// Reads what is ours from the command line and exports the environment.
fn parse(cmdline: &str) -> Config {
    let mut config = Config {
        mode: "test".into(),
        filter: None,
        timeout: Duration::from_secs(600),
        terminal: false,
    };
    std::env::set_var("PATH", "/bin");
    std::env::set_var("HOME", "/root");
    std::env::set_var("TERM", "dumb");
    std::env::set_var("RUST_BACKTRACE", "1");
    for word in cmdline.split_ascii_whitespace() {
        let Some((key, value)) = word.split_once('=') else {
            continue;
        };
        match key {
            "alpc_mode" => config.mode = value.into(),
            "alpc_terminal" => config.terminal = value == "1",
            "alpc_filter" => config.filter = Some(value.into()),
            "alpc_timeout" => {
                if let Ok(seconds) = value.parse() {
                    config.timeout = Duration::from_secs(seconds);
                }
            }
            _ => {
                if let Some(name) = key.strip_prefix("alpc_env.") {
                    std::env::set_var(name, value);
                }
            }
        }
    }
    config
}
