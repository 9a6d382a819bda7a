//! What the machine offers, for `GET /service-resources` (`docs/spec/container.md` section 7).

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

/// The version of the document's format.
const DOCUMENT_VERSION: &str = "0.1.0";

/// How many file systems are listed at most.
const DISKS_MAX: usize = 64;

/// The capability document of a service: the machine's hardware, and `compute` as the only
/// compute capability. What the system does not tell is `null` or left out.
#[must_use]
pub fn document(service_id: &str, compute: &Value) -> Value {
    json!({
        "version": DOCUMENT_VERSION,
        "service_id": service_id,
        "hardware_capabilities": [{
            "capability_id": "base",
            "os_info": { "name": os_name(), "version": os_version() },
            "cpu_info": cpu_info(),
            "disk_info": disk_info(),
        }],
        "compute_capability": [compute],
    })
}

fn os_name() -> &'static str {
    match std::env::consts::OS {
        "linux" => "Linux",
        "macos" => "Darwin",
        "windows" => "Windows",
        other => other,
    }
}

fn os_version() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/version")
        .ok()
        .map(|text| text.trim().to_owned())
}

fn cpu_info() -> Value {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores: Vec<BTreeMap<&str, &str>> = text
        .split("\n\n")
        .map(|block| {
            let pairs = block.lines().filter_map(|line| line.split_once(':'));
            pairs
                .map(|(key, value)| (key.trim(), value.trim()))
                .collect()
        })
        .filter(|core: &BTreeMap<&str, &str>| core.contains_key("processor"))
        .collect();
    let first = |key| cores.first().and_then(|core| core.get(key).copied());
    json!({
        "model": first("model name"),
        "architecture": std::env::consts::ARCH,
        "byte_order": if cfg!(target_endian = "big") { "Big Endian" } else { "Little Endian" },
        "vendor_id": first("vendor_id"),
        "num_cores": std::thread::available_parallelism().map_or(1, usize::from),
        "cores": cores.iter().map(|core| json!({
            "id": core.get("processor"),
            "frequency": core.get("cpu MHz").and_then(|mhz| mhz.parse::<f64>().ok()),
            "max_frequency": null,
            "min_frequency": null,
        })).collect::<Vec<_>>(),
    })
}

/// Sizes are in blocks of 1 KiB, as `df` prints them.
fn disk_info() -> Vec<Value> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?))
        })
        // Others are virtual, or on a network, where asking can hang.
        .filter(|(filesystem, mount)| filesystem.starts_with("/dev/") || *mount == "/")
        .take(DISKS_MAX)
        .filter_map(|(filesystem, mount)| {
            let disk = rustix::fs::statvfs(mount).ok()?;
            let kib = |blocks: u64| blocks.saturating_mul(disk.f_frsize) / 1024;
            Some(json!({
                "filesystem": filesystem,
                "mount_point": mount,
                "size": kib(disk.f_blocks),
                "used": kib(disk.f_blocks.saturating_sub(disk.f_bfree)),
                "available": kib(disk.f_bavail),
            }))
        })
        .collect()
}
