// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use std::path::PathBuf;
use std::time::Duration;

/// One boot, as asked for.
#[derive(Debug)]
pub struct Options {
    pub name: String,
    pub mode: String,
    pub init: PathBuf,
    pub module: PathBuf,
    /// Modules of a benchmark and of tests, those of the kernel itself among them that its image
    /// lacks.
    pub drivers: Vec<PathBuf>,
    pub busybox: PathBuf,
    pub tests: Vec<PathBuf>,
    pub bins: Vec<PathBuf>,
    pub run: Vec<PathBuf>,
    /// Single programs that go where those of `run` go.
    pub programs: Vec<PathBuf>,
    pub cpus: u32,
    pub memory: String,
    pub hardened: bool,
    /// The kernel is the debug kernel.
    pub debug: bool,
    pub icount: bool,
    /// An emulated guest's time is a count of its instructions: nothing that the host does shows.
    pub counted: bool,
    pub interactive: bool,
    /// What SELinux goes by in the guest.
    pub policy: Option<PathBuf>,
    /// What counts in QEMU, and writes down calls, to be split into phases.
    pub plugin: Option<PathBuf>,
    /// What is measured becomes the baseline.
    pub record: bool,
    /// A test binary's name, or a part of a test's name.
    pub only: Option<String>,
    /// The test binaries that go in, or all if there are none.
    pub binaries: Vec<String>,
    /// The test binaries that are left out.
    pub skip: Vec<String>,
    /// For the whole boot.
    pub timeout: Duration,
    pub env: Vec<String>,
    /// Parameters of the module.
    pub parameters: Vec<String>,
    /// A shell command line for mode `run`.
    pub cmd: Option<String>,
}

impl Options {
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        if args.next().as_deref() != Some("boot") {
            return Err(
                "usage: alpc-vm boot --name NAME --mode MODE ... (see qemu/runner/src/main.rs)"
                    .into(),
            );
        }
        let mut options = Options {
            name: String::new(),
            mode: String::new(),
            init: PathBuf::new(),
            module: PathBuf::new(),
            drivers: Vec::new(),
            busybox: PathBuf::new(),
            tests: Vec::new(),
            bins: Vec::new(),
            run: Vec::new(),
            programs: Vec::new(),
            cpus: 1,
            memory: "1G".into(),
            hardened: false,
            debug: false,
            icount: false,
            counted: false,
            interactive: false,
            plugin: None,
            policy: None,
            record: false,
            only: None,
            binaries: Vec::new(),
            skip: Vec::new(),
            timeout: Duration::from_secs(1800),
            env: Vec::new(),
            parameters: Vec::new(),
            cmd: None,
        };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--hardened" => options.hardened = true,
                "--debug" => {
                    // Its shadow memory and its bookkeeping take as much again.
                    options.memory = "3G".into();
                    options.debug = true;
                }
                "--icount" => options.icount = true,
                "--counted" => options.counted = true,
                "--interactive" => options.interactive = true,
                "--record" => options.record = true,
                _ => {
                    let value = args.next().ok_or(format!("{arg} needs a value"))?;
                    options.set(&arg, value)?;
                }
            }
        }
        if options.name.is_empty() || options.mode.is_empty() {
            return Err("--name and --mode are needed".into());
        }
        Ok(options)
    }

    fn set(&mut self, arg: &str, value: String) -> Result<(), String> {
        let number = |value: &str| {
            value
                .parse()
                .map_err(|_| format!("{arg} {value}: not a number"))
        };
        match arg {
            "--name" => self.name = value,
            "--mode" => self.mode = value,
            "--init" => self.init = value.into(),
            "--module" => self.module = value.into(),
            "--policy" => self.policy = Some(value.into()),
            "--plugin" => self.plugin = Some(value.into()),
            "--driver" => self.drivers.push(value.into()),
            "--busybox" => self.busybox = value.into(),
            "--tests" => self.tests.push(value.into()),
            "--bins" => self.bins.push(value.into()),
            "--run" => self.run.push(value.into()),
            "--program" => self.programs.push(value.into()),
            "--cpus" => self.cpus = number(&value)?,
            "--memory" => self.memory = value,
            "--timeout" => self.timeout = Duration::from_secs(number(&value)?.into()),
            "--binary" => self.binaries.push(value),
            "--skip" => self.skip.push(value),
            "--only" => self.only = Some(value),
            "--cmd" => self.cmd = Some(value),
            "--env" | "--parameter" => {
                // The kernel splits its command line at blanks.
                if value.contains([' ', '\t', '\n', '"']) || !value.contains('=') {
                    return Err(format!(
                        "{arg} {value:?}: want NAME=VALUE without blanks or quotes"
                    ));
                }
                match arg {
                    "--env" => self.env.push(value),
                    _ => self.parameters.push(value),
                }
            }
            _ => return Err(format!("unknown option {arg}")),
        }
        Ok(())
    }

    /// Whether a module goes along whose file's name begins so.
    pub fn has_driver(&self, name: &str) -> bool {
        let is_it = |file: &std::ffi::OsStr| file.to_string_lossy().starts_with(name);
        self.drivers
            .iter()
            .any(|driver| driver.file_name().is_some_and(is_it))
    }

    /// What the kernel is told.
    pub fn command_line(&self) -> String {
        // The self-tests of the crypto code would take most of the guest's time.
        // Log level 5 lets warnings through, which the log scan must see.
        let mut line = String::from("console=ttyS0 panic=-1 loglevel=5 cryptomgr.notests");
        if self.hardened {
            line += " kfence.sample_interval=20 slab_debug=FZP init_on_free=1";
        }
        if self.policy.is_some() {
            line += " lsm=selinux";
        }
        if self.debug {
            line += " kmemleak=on page_poison=1 page_table_check=on";
        }
        if self.hardened || self.debug {
            line += " panic_on_warn=1 oops=panic hung_task_panic=1 softlockup_panic=1 \
                     rcupdate.rcu_cpu_stall_timeout=60";
        }
        line += &format!(" alpc_mode={}", self.mode);
        if self.interactive {
            line += " alpc_terminal=1";
        }
        if let Some(only) = &self.only {
            line += &format!(" alpc_filter={only}");
        }
        for pair in &self.parameters {
            line += &format!(" alpc.{pair}");
        }
        for pair in &self.env {
            match pair.strip_prefix("ALPC_TEST_TIMEOUT=") {
                Some(seconds) => line += &format!(" alpc_timeout={seconds}"),
                None => line += &format!(" alpc_env.{pair}"),
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &str) -> Result<Options, String> {
        Options::parse(args.split_whitespace().map(String::from))
    }

    #[test]
    fn all_reaches_the_kernel() {
        let options = parse("boot --name a --mode test --hardened --only x --env ROUNDS=7 --env ALPC_TEST_TIMEOUT=9")
            .expect("a valid command line");
        let line = options.command_line();
        for part in [
            "panic_on_warn=1",
            "alpc_mode=test",
            "alpc_filter=x",
            "alpc_env.ROUNDS=7",
            "alpc_timeout=9",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for args in [
            "",
            "boot",
            "boot --name",
            "boot --name a --mode b --what c",
            "boot --name a --mode b --cpus x",
            "boot --name a --mode b --env X",
        ] {
            assert!(parse(args).is_err(), "{args}");
        }
    }
}
