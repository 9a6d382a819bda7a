//! Named places between two durable steps, at which tests stop the process.
//!
//! `INFERNET_CRASH_POINT=name:N` makes the N-th passage of the place `name` end the process at
//! once, as `kill -9` would. A simulation calls [`watch`] instead and is told of each passage.
//! With neither, a passage costs one load.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// Every place that a running node passes, by what it does.
pub const POINTS: &[&str] = &[
    // A commit.
    "driver.before-append",
    "pack.created",
    "pack.written",
    "pack.synced",
    "store.before-places",
    "store.before-blocks",
    "store.after-blocks",
    "store.flushed",
    "store.synced",
    "log.before-head",
    "log.after-head",
    "driver.after-append",
    "driver.after-apply",
    "driver.before-dispatch",
    // An effect.
    "executor.before-effect",
    "executor.after-effect",
    // A new directory.
    "create.described",
    "create.cleared",
    "create.made",
    // An opening.
    "open.locked",
    "open.copied",
    "open.preserved",
    "open.opened",
    "open.discarding",
    "open.discarded",
    // A small file that is replaced: FORMAT, a snapshot, a mark.
    "replace.written",
    "replace.synced",
    "replace.renamed",
    // A snapshot.
    "snapshot.before-save",
    "snapshot.saved",
    // A roll: closed by the keeper, adopted by the loop.
    "archive.written",
    "archive.synced",
    "archive.checked",
    "archive.named",
    "roll.before-close",
    "roll.archived",
    "roll.began",
    "roll.created",
    "roll.closed",
    "roll.before-switch",
    "roll.switched",
    "roll.removed",
    // Payloads of a closed part are erased.
    "erase.before-archive",
    "erase.rewritten",
    "erase.overwritten",
    "erase.marked",
    // The oldest part is dropped.
    "retain.before-drop",
    "retain.dropped-archive",
    "retain.dropped-packs",
];

/// Places that only a tool passes, or a node with a mirror.
pub const TOOL_POINTS: &[&str] = &[
    "mirror.began",
    "mirror.blocks-read",
    "mirror.packs-copied",
    "mirror.blocks-written",
    "mirror.blocks-synced",
    "erase.before-block",
    "erase.block-replaced",
    "erase.payload-overwritten",
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
