//! Named places between two durable steps, at which tests stop the process.
//!
//! `INFERNET_CRASH_POINT=name:N` makes the N-th passage of the place `name` end the process at
//! once, as `kill -9` would. A simulation calls [`watch`] instead and is told of each passage.
//! With neither, a passage costs one load.

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

/// What happens at a passage.
enum Armed {
    /// The process ends at one of them.
    Kill {
        name: String,
        passage: u64,
        passed: AtomicU64,
    },
    /// Somebody is told of each.
    Watched(fn(&'static str)),
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Passes the place `name`; does not return when the process was asked to crash here.
pub fn point(name: &'static str) {
    let Some(armed) = ARMED.get_or_init(read_environment) else {
        return;
    };
    match armed {
        Armed::Kill {
            name: at,
            passage,
            passed,
        } => {
            if at == name && passed.fetch_add(1, Ordering::Relaxed) + 1 == *passage {
                // No destructor, no flush, no unwinding: what is not durable is gone.
                std::process::abort();
            }
        }
        Armed::Watched(watcher) => watcher(name),
    }
}

/// Tells `watcher` of every passage from now on, in place of the environment. It may unwind: a
/// simulation of a process that ends. `false` when a place was passed, or watched, before.
#[must_use]
pub fn watch(watcher: fn(&'static str)) -> bool {
    ARMED.set(Some(Armed::Watched(watcher))).is_ok()
}

fn read_environment() -> Option<Armed> {
    let value = std::env::var("INFERNET_CRASH_POINT").ok()?;
    let (name, passage) = value.rsplit_once(':')?;
    Some(Armed::Kill {
        name: name.to_owned(),
        passage: passage.parse().ok()?,
        passed: AtomicU64::new(0),
    })
}
