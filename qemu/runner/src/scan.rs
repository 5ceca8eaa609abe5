// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must never stand in the kernel's log.

/// A line is bad if it has all the parts of a row, in that order.
const BAD: &[&[&str]] = &[
    &["BUG:"],
    &["BUG "],
    &["kernel BUG at"],
    &["WARNING:"],
    &["KFENCE:"],
    &["KASAN:"],
    &["KCSAN:"],
    &["UBSAN:"],
    &["Oops"],
    &["rust_kernel: panicked"],
    &["Kernel panic"],
    &["possible recursive locking"],
    &["possible circular locking"],
    &["possible irq lock inversion"],
    &["inconsistent lock state"],
    &["suspicious RCU usage"],
    &["lock held when returning to user space"],
    &["sleeping function called"],
    &["scheduling while atomic"],
    &["INFO: task"],
    &["soft lockup"],
    &["hard LOCKUP"],
    &["rcu:", "stall"],
    &["rcu_", "stall"],
    &["refcount_t:"],
    &["=== BUG"],
    &["Slab corruption"],
    &["Redzone"],
    &["Poison overwritten"],
    &["Object already free"],
    &["Objects remaining"],
    &["unreferenced object"],
    &["suspected memory leak"],
    &["ODEBUG:"],
    &["INFO: trying to register"],
    &["general protection fault"],
    &["unable to handle"],
    &["list_add corruption"],
    &["list_del corruption"],
    &["Bad page state"],
    &["Bad rss-counter state"],
    &["page allocation failure"],
    &["Out of memory: Killed process"],
    &["leaked"],
    &["Unknown symbol"],
    &["disagrees about version of symbol"],
    &["Call Trace:"],
    &["Modules linked in:"],
];

/// Lines of the stock kernel that mean nothing here.
const HARMLESS: &[&[&str]] = &[
    // Kernel configuration remarks about the processor.
    &["Spectre V2 : WARNING:"],
    &["MDS:"],
    // Asked for on the command line.
    &["Kernel command line:"],
];

fn has(line: &str, parts: &[&str]) -> bool {
    let mut rest = line;
    parts.iter().all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Whether one line of the kernel's console speaks of trouble. QEMU's own
/// words come the same way, but without the kernel's time stamp.
fn is_bad(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('[')
        && !HARMLESS.iter().any(|parts| has(line, parts))
        && BAD.iter().any(|parts| has(line, parts))
}

/// What the kernel says when a processor no longer gets anywhere.
const STUCK: &[&[&str]] = &[
    &["soft lockup"],
    &["hard LOCKUP"],
    &["rcu:", "stall"],
    &["INFO: task"],
];

/// Whether one line of the kernel's console says that it is stuck.
pub fn is_stuck(line: &str) -> bool {
    is_bad(line) && STUCK.iter().any(|parts| has(line, parts))
}

/// What the guest's init says to the kernel's log before and after it has all stacks shown.
const STACKS: [&[&str]; 2] = [
    &["init: all stacks follow"],
    &["init: all stacks are shown"],
];

/// A reader of the kernel's log, line by line. Some stacks are no trouble.
#[derive(Default)]
pub struct Reader {
    /// Who has asked for the last of a memory cgroup's memory is shown with its stack. If the
    /// machine's memory has ended, another line says so.
    of_a_group: bool,
    /// All stacks were asked for, and come now.
    asked_for: bool,
}

impl Reader {
    /// Whether the next line speaks of trouble.
    pub fn is_trouble(&mut self, line: &str) -> bool {
        self.of_a_group |= has(line, &["invoked oom-killer:"]);
        self.asked_for = (self.asked_for || has(line, STACKS[0])) && !has(line, STACKS[1]);
        let stack = has(line, &["Call Trace:"]);
        let harmless = stack && (self.of_a_group || self.asked_for)
            || self.asked_for && has(line, &["Modules linked in:"]);
        self.of_a_group &= !stack;
        is_bad(line) && !harmless
    }
}

/// The bad lines of a log.
pub fn bad_lines(log: &str) -> Vec<&str> {
    let mut reader = Reader::default();
    log.lines().filter(|line| reader.is_trouble(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_cgroup_may_end_and_the_memory_may_not() {
        let asks = "[    1.000000] killed invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL)";
        let stack = "[    1.000001] Call Trace:";
        let group = "[    1.000002] Memory cgroup out of memory: Killed process 113 (killed)";
        let machine = "[    1.000003] Out of memory: Killed process 113 (killed)";
        let log = [asks, stack, group, asks, stack, machine, stack].join("\n");
        assert_eq!(bad_lines(&log), [machine, stack]);
    }

    #[test]
    fn stacks_that_were_asked_for_are_no_trouble() {
        let begin = "[    1.000000] init: all stacks follow";
        let stack = "[    1.000001] Call Trace:";
        let modules = "[    1.000002] Modules linked in: alpc(OE)";
        let bug = "[    1.000003] BUG: bad";
        let end = "[    1.000004] init: all stacks are shown";
        let log = [begin, stack, modules, stack, bug, end, stack, modules].join("\n");
        assert_eq!(bad_lines(&log), [bug, stack, modules]);
    }

    #[test]
    fn trouble_is_seen() {
        for line in [
            "BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "BUG: KFENCE: use-after-free read in alpc_port_release",
            "BUG: sleeping function called from invalid context at mm/slab.h:1",
            "BUG kmalloc-96 (Tainted: G           OE      ): Right Redzone overwritten",
            "kernel BUG at rust/helpers/bug.c:7!",
            "WARNING: CPU: 0 PID: 81 at kernel/cred.c:1 put_cred+0x1/0x2",
            "WARNING: possible recursive locking detected",
            "WARNING: possible circular locking dependency detected",
            "Oops: general protection fault, probably for non-canonical address 0x1: 0000 [#1]",
            "Oops: Oops: 0000 [#1] SMP NOPTI",
            "rust_kernel: panicked at alpc_mod/queue.rs:10:5: index out of bounds",
            "INFO: task calls:99 blocked for more than 120 seconds.",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [calls:99]",
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "rcu: INFO: rcu_preempt self-detected stall on CPU",
            "refcount_t: underflow; use-after-free.",
            "=============================================== BUG task_struct",
            "Slab corruption (Tainted: G): kmalloc-64 start=1, len=64",
            "list_del corruption. prev->next should be 1, but was 2.",
            "unreferenced object 0x1 (size 64):",
            "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100",
            "slab alpc_message: Objects remaining in alpc_message on __kmem_cache_shutdown()",
            "alpc: Unknown symbol task_work_add (err -2)",
            "alpc: 1 message leaked",
            "Out of memory: Killed process 81 (userlib) total-vm:1kB",
        ] {
            assert!(is_bad(&format!("[   12.345678] {line}")), "{line}");
            assert!(is_bad(&format!("[   12.345678][  T123] {line}")), "{line}");
        }
    }

    #[test]
    fn daily_life_is_not() {
        for line in [
            "[    0.000000] Kernel command line: console=ttyS0 panic_on_warn=1 oops=panic",
            "[    0.100000] Spectre V2 : WARNING: Unprivileged eBPF is enabled",
            "[    1.000000] alpc: loading out-of-tree module taints kernel.",
            "[    1.000000] alpc: module verification failed: signature and/or required key missing - tainting kernel",
            "[    0.200000] rcu: Hierarchical RCU implementation.",
            "[    0.300000] kfence: initialized - using 2097152 bytes for 255 objects",
            "test the_word_bug_in_a_test ... ok",
            "[    9.500000] Memory cgroup out of memory: Killed process 81 (quota)",
            "WARNING: said by a program, not by the kernel",
            "qemu-system-x86_64: warning: TCG doesn't support requested feature",
            "",
        ] {
            assert!(!is_bad(line), "{line}");
        }
    }

    #[test]
    fn stuck_is_worse_than_bad() {
        assert!(is_stuck(
            "[ 24.2] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"
        ));
        assert!(is_stuck(
            "[ 24.2] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!"
        ));
        assert!(!is_stuck("[ 24.2] BUG: KFENCE: use-after-free read in x"));
        assert!(!is_stuck("[ 24.2] rcu: Hierarchical RCU implementation."));
    }

    #[test]
    fn parts_count_in_order_only() {
        assert!(has("a rcu: b stall c", &["rcu:", "stall"]));
        assert!(!has("stall rcu:", &["rcu:", "stall"]));
    }
}
