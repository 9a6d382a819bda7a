//! When a service ends: a signal, or the end of its parent.

use std::{io::Read, thread, time::Duration};

use tokio::sync::oneshot;

/// How long answers under way may take after a signal. Container engines wait 60 s before they
/// kill (`docs/spec/container.md` section 1).
const SIGNAL_GRACE: Duration = Duration::from_secs(30);

/// The same once the parent is gone: hardly anybody is left to read an answer, and a new parent
/// may want the port.
const ORPHAN_GRACE: Duration = Duration::from_secs(1);

/// Why a service ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// SIGINT or SIGTERM.
    Signal,
    /// Standard input is at its end.
    ParentGone,
}

impl Reason {
    /// How long answers under way may still take.
    pub(crate) fn grace(self) -> Duration {
        match self {
            Self::Signal => SIGNAL_GRACE,
            Self::ParentGone => ORPHAN_GRACE,
        }
    }
}

/// Waits for the end. With `watch_stdin`, the end of standard input is one: the system closes it
/// however the parent dies.
pub(crate) async fn requested(watch_stdin: bool) -> Reason {
    tokio::select! {
        () = signal() => Reason::Signal,
        () = stdin_end(watch_stdin) => Reason::ParentGone,
    }
}

async fn signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // A signal that cannot be listened for ends the process by itself, as is the default.
    if interrupt.await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn stdin_end(watch: bool) {
    if !watch {
        return std::future::pending().await;
    }
    let (ended, end) = oneshot::channel::<()>();
    // A thread of our own: a read that blocks for good must not hold up the runtime's end.
    thread::spawn(move || {
        let mut bytes = [0; 256];
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut bytes).is_ok_and(|count| count > 0) {}
        drop(ended);
    });
    // The sender never sends: it is dropped at the end of the input.
    let _ = end.await;
}
