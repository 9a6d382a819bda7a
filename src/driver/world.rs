//! What the loop needs of the world: a clock, randomness and a spawner, behind traits, so that
//! the simulator can be the world.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use infernet_state::types::WallTime;

/// A future that can be sent to any thread.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// Work that takes long and waits for nothing but the disk.
pub type Work = Box<dyn FnOnce() + Send + 'static>;

/// Wall time, as it passes: it never stands still or runs backwards, since the machine's timers
/// would wait until it is past their time again.
pub trait Clock: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> WallTime;

    /// Resolves when [`Clock::now`] has reached `at`, or a little later.
    fn sleep_until(&self, at: WallTime) -> BoxFuture<()>;

    /// The present is `at` or later: so much is recorded already.
    fn go_on_from(&self, at: WallTime);
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
///
/// Where the system's clock is set back, or behind what is recorded, time goes on from where it
/// was, until the system's clock is past it.
#[derive(Clone, Debug)]
pub struct SystemWorld {
    runtime: tokio::runtime::Handle,
    time: Arc<Time>,
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
            time: Arc::default(),
        }
    }
}

/// The longest single sleep: a clock that is set forward is noticed after it.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// A clock further behind what is recorded than this is worth a warning.
const CLOCK_BEHIND_MAX_MS: u64 = 10_000;

/// Time that passes.
#[derive(Debug)]
struct Time {
    begun: Instant,
    /// What the time was at `begun`, in milliseconds, as far as is known. It only grows.
    at_begin: AtomicU64,
}

impl Default for Time {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            at_begin: AtomicU64::new(0),
        }
    }
}

impl Time {
    /// The time, where the system says `system`.
    fn at_least(&self, system: WallTime) -> WallTime {
        let passed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let at_begin = system.0.saturating_sub(passed);
        let known = self.at_begin.fetch_max(at_begin, Ordering::Relaxed);
        WallTime(known.max(at_begin).saturating_add(passed))
    }
}

fn system_time() -> WallTime {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    WallTime(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

impl Clock for SystemWorld {
    fn now(&self) -> WallTime {
        self.time.at_least(system_time())
    }

    fn sleep_until(&self, at: WallTime) -> BoxFuture<()> {
        let world = self.clone();
        Box::pin(async move {
            loop {
                let left = Duration::from_millis(at.0.saturating_sub(world.now().0));
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(SLEEP_MAX)).await;
            }
        })
    }

    fn go_on_from(&self, at: WallTime) {
        let behind_ms = at.0.saturating_sub(system_time().0);
        if behind_ms > CLOCK_BEHIND_MAX_MS {
            tracing::warn!(
                behind_ms,
                "the system's clock is behind what is recorded; time goes on from there: set the \
                 clock, it is right again once it is past that"
            );
        }
        self.time.at_least(at);
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
    use super::*;

    #[test]
    fn time_goes_on_whatever_the_clock_is_set_to() {
        let time = Time::default();
        let day = 86_400_000;
        let first = time.at_least(WallTime(10 * day));
        assert!((10 * day..11 * day).contains(&first.0));
        let ahead = time.at_least(WallTime(40 * day));
        assert!(ahead.0 >= 40 * day);
        std::thread::sleep(Duration::from_millis(20));
        let back = time.at_least(WallTime(10 * day));
        assert!(
            (ahead.0 + 20..ahead.0 + day).contains(&back.0),
            "{ahead:?} {back:?}"
        );
        assert!(time.at_least(WallTime(50 * day)).0 >= 50 * day);
    }

    #[tokio::test]
    async fn a_clock_behind_what_is_recorded_does_not_prolong_a_sleep() {
        let world = SystemWorld::current();
        let recorded = WallTime(world.now().0 + 86_400_000);
        world.go_on_from(recorded);
        assert!(world.now() >= recorded);
        let sleeping = world.sleep_until(WallTime(recorded.0 + 200));
        let slept = tokio::time::timeout(Duration::from_secs(60), sleeping);
        assert!(slept.await.is_ok(), "it waits for a day");
    }
}
