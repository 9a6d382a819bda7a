//! What the loop needs of the world: a clock, randomness and a spawner, behind traits, so that
//! the simulator can be the world.

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use infernet_state::types::WallTime;

/// A future that can be sent to any thread.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// Work that takes long and waits for nothing but the disk.
pub type Work = Box<dyn FnOnce() + Send + 'static>;

/// Wall time.
pub trait Clock: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> WallTime;

    /// Resolves when [`Clock::now`] has reached `at`, or a little later; also when as much time has
    /// passed as there was to wait, although the clock was set back meanwhile.
    fn sleep_until(&self, at: WallTime) -> BoxFuture<()>;
}

/// Randomness that nobody can foresee (job ids, jitter).
pub trait Random: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// Starts tasks.
pub trait Spawner: Send + Sync + 'static {
    /// Starts a task that runs on its own.
    fn spawn(&self, task: BoxFuture<()>);

    /// Starts work that takes long, where it is in nobody's way.
    fn spawn_work(&self, work: Work);
}

/// All three; cheap to clone.
pub trait World: Clock + Random + Spawner + Clone {}

impl<T: Clock + Random + Spawner + Clone> World for T {}

/// The real world: the system's clock and randomness, tokio's tasks.
#[derive(Clone, Debug)]
pub struct SystemWorld {
    runtime: tokio::runtime::Handle,
}

impl SystemWorld {
    /// The world of the runtime that this is called in.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn current() -> Self {
        Self {
            runtime: tokio::runtime::Handle::current(),
        }
    }
}

/// The longest single sleep: the wall clock may be set while we sleep, so it is looked at again.
const SLEEP_MAX: Duration = Duration::from_secs(60);

impl Clock for SystemWorld {
    fn now(&self) -> WallTime {
        let elapsed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        WallTime(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, at: WallTime) -> BoxFuture<()> {
        let world = self.clone();
        Box::pin(sleep(move || world.now(), at))
    }
}

/// Sleeps until `now` says `at`, at the longest as long as it now seems to be.
async fn sleep(now: impl Fn() -> WallTime, at: WallTime) {
    let ahead = Duration::from_millis(at.0.saturating_sub(now().0));
    let begun = Instant::now();
    while now() < at {
        let left = ahead.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(SLEEP_MAX)).await;
    }
}

impl Random for SystemWorld {
    fn fill(&self, bytes: &mut [u8]) {
        rand::Rng::fill(&mut rand::rng(), bytes);
    }
}

impl Spawner for SystemWorld {
    fn spawn(&self, task: BoxFuture<()>) {
        self.runtime.spawn(task);
    }

    fn spawn_work(&self, work: Work) {
        // A thread that nobody waits for: the process may end in the middle of the work, which
        // is a crash that the next start repairs like any other. Without a thread the work is
        // dropped, and whoever waits for its end hears of that.
        let spawned = std::thread::Builder::new()
            .name("upkeep".to_owned())
            .spawn(work);
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread can be started");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_clock_that_is_set_back_does_not_prolong_a_sleep() {
        let now = AtomicU64::new(86_400_000);
        let at = WallTime(86_400_020);
        let clock = || WallTime(now.swap(0, Ordering::SeqCst));
        let slept = tokio::time::timeout(Duration::from_secs(60), sleep(clock, at));
        assert!(slept.await.is_ok(), "it waits for a day");
    }
}
