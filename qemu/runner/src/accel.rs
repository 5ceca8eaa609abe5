// SPDX-License-Identifier: MIT OR Apache-2.0
//! KVM where it really works, else emulation.

use crate::guest;
use crate::options::Options;
use std::fmt;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Accel {
    Kvm,
    Tcg,
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        })
    }
}

/// Whether the processor has hardware virtualisation to offer. A KVM without
/// it opens, makes machines, and then fails in a stock guest.
fn cpu_can(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| {
            line.split_whitespace()
                .any(|flag| flag == "vmx" || flag == "svm")
        })
}

/// Where the answer for this boot of the host is kept, given a cache.
fn cache_file() -> Option<PathBuf> {
    let dir = std::env::var_os("ALPC_ACCEL_CACHE")?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(PathBuf::from(dir).join(format!("kvm-{}", boot.trim())))
}

fn kvm_works() -> bool {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !cpu_can(&cpuinfo)
        || OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
    {
        return false;
    }
    let file = cache_file();
    if let Some(answer) = file
        .as_ref()
        .and_then(|file| std::fs::read_to_string(file).ok())
    {
        return answer.trim() == "yes";
    }
    let works = guest::kvm_boots(Duration::from_secs(10));
    if let Some(file) = file {
        // Only saves time: without it the next boot asks again.
        let _ = std::fs::write(file, if works { "yes\n" } else { "no\n" });
    }
    works
}

/// What to boot with. Counting instructions is for emulation only.
pub fn choose(options: &Options) -> Result<Accel, String> {
    let wish = std::env::var("ALPC_ACCEL").unwrap_or_default();
    match wish.as_str() {
        _ if options.icount => Ok(Accel::Tcg),
        "kvm" => Ok(Accel::Kvm),
        "tcg" => Ok(Accel::Tcg),
        "" | "auto" => Ok(if kvm_works() { Accel::Kvm } else { Accel::Tcg }),
        other => Err(format!("ALPC_ACCEL={other}: want kvm, tcg or auto")),
    }
}

/// How far tests may go by the guest's time, if it is more than a guess: under emulation by the clock
/// whatever else the host does takes time from one of the guest's processors.
pub fn time(options: &Options, accel: Accel) -> Option<String> {
    let time = match accel {
        Accel::Kvm => "real",
        Accel::Tcg if options.counted => "counted",
        Accel::Tcg => return None,
    };
    Some(format!("ALPC_TIME={time}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_flag_counts() {
        assert!(cpu_can("model name : x\nflags\t\t: fpu vmx sse\n"));
        assert!(cpu_can("flags : svm\n"));
        assert!(!cpu_can("flags : fpu sse vmxnet\nmodel name : vmx\n"));
        assert!(!cpu_can(""));
    }
}
