//! Named places between two durable steps, at which tests stop the process.
//!
//! `INFERNET_CRASH_POINT=name:N` makes the N-th passage of the place `name` end the process at
//! once, as `kill -9` would. Without the variable a passage costs one load.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// Every place, in the order of a commit.
pub const POINTS: &[&str] = &[
    "driver.before-append",
    "driver.after-append",
    "driver.after-apply",
    "driver.before-dispatch",
    "executor.before-effect",
    "executor.after-effect",
];

struct Armed {
    name: String,
    passage: u64,
    passed: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Passes the place `name`; does not return when the process was asked to crash here.
pub fn point(name: &'static str) {
    let Some(armed) = ARMED.get_or_init(read_environment) else {
        return;
    };
    if armed.name == name && armed.passed.fetch_add(1, Ordering::Relaxed) + 1 == armed.passage {
        // No destructor, no flush, no unwinding: what is not durable is gone.
        std::process::abort();
    }
}

fn read_environment() -> Option<Armed> {
    let value = std::env::var("INFERNET_CRASH_POINT").ok()?;
    let (name, passage) = value.rsplit_once(':')?;
    Some(Armed {
        name: name.to_owned(),
        passage: passage.parse().ok()?,
        passed: AtomicU64::new(0),
    })
}
