// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report of the benchmark against the clock, out of the guest.

use crate::accel::Accel;
use std::path::Path;
use std::process::Command;

const REPORT: &str = "target/criterion";

/// Where the guest's third serial port writes, below the repository.
pub fn archive(dir: &Path) -> String {
    format!("{}/criterion.tar.gz", dir.display())
}

/// Unpacks what the guest sent, and says what its times mean.
pub fn unpack(dir: &Path, accel: Accel) -> Result<(), String> {
    // What an earlier run left is of another module.
    let _ = std::fs::remove_dir_all(REPORT);
    let status = Command::new("tar")
        .args(["-xzf", &archive(dir), "-C", "target"])
        .status()
        .map_err(|e| format!("tar: {e}"))?;
    let index = format!("{REPORT}/report/index.html");
    if !status.success() || !Path::new(&index).exists() {
        return Err("the guest sent no report".into());
    }
    println!("clock: the report is {index}");
    println!("{}", meaning(accel));
    Ok(())
}

fn meaning(accel: Accel) -> &'static str {
    match accel {
        Accel::Kvm => {
            "clock: these are times of this machine's processor, in a guest under KVM.\n\
             clock: What leaves the guest, as a wake-up of its other processor does, costs\n\
             clock: more than without one. Compare rows of one run."
        }
        Accel::Tcg => {
            "clock: these are times of an EMULATOR, QEMU's TCG: no processor runs at them.\n\
             clock: They can't tell how long a call takes, nor what caches, branch prediction,\n\
             clock: mitigations or a second processor cost or save, and an instruction that is\n\
             clock: cheap to run may be dear to emulate, so that not even their ratios hold.\n\
             clock: What they show is that nothing stalls. Go by the instructions above; on a\n\
             clock: host with KVM this same command gives real times."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulated_times_are_called_that() {
        assert!(meaning(Accel::Tcg).contains("EMULATOR"));
        assert!(!meaning(Accel::Kvm).contains("EMULATOR"));
    }
}
