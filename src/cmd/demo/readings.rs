//! Real readings of this machine, on Linux from `/proc`: what the nodes have to say.

use std::path::Path;

use carrick::{Clock, SystemClock};
use serde::Serialize;

/// One reading. What the machine does not tell is `null`.
#[derive(Debug, Serialize)]
pub(super) struct Reading {
    node: usize,
    reading: usize,
    /// Unix milliseconds.
    time: u64,
    /// Processes that want to run, on average over 1, 5 and 15 minutes.
    load: Option<[f64; 3]>,
    memory_available_bytes: Option<u64>,
    disk_available_bytes: Option<u64>,
    uptime_seconds: Option<f64>,
}

/// Reads the machine now.
pub(super) fn take(node: usize, reading: usize, disk: &Path) -> Reading {
    let proc = |name: &str| std::fs::read_to_string(Path::new("/proc").join(name)).ok();
    Reading {
        node,
        reading,
        time: SystemClock.now().as_millis(),
        load: proc("loadavg").as_deref().and_then(load),
        memory_available_bytes: proc("meminfo").as_deref().and_then(memory),
        disk_available_bytes: rustix::fs::statvfs(disk)
            .ok()
            .map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize)),
        uptime_seconds: proc("uptime").and_then(|text| text.split(' ').next()?.parse().ok()),
    }
}

fn load(text: &str) -> Option<[f64; 3]> {
    let mut numbers = text.split(' ').map(|word| word.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

fn memory(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_understood() {
        assert_eq!(load("0.52 0.58 0.59 1/389 12345\n"), Some([0.52, 0.58, 0.59]));
        assert_eq!(memory("MemTotal: 1 kB\nMemAvailable:   16328 kB\n"), Some(16_328 * 1_024));
        assert_eq!((load("nonsense"), memory("nonsense")), (None, None));
    }
}
