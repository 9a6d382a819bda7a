//! Virtual time, seeded randomness and a single-threaded executor: the world of a simulated
//! process.

use std::{
    any::Any,
    collections::BTreeMap,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Wake, Waker},
};

use infernet_node::driver::{BoxFuture, Clock, Random, Spawner, Work};
use infernet_state::types::WallTime;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::steps::Crash;

/// Where virtual time begins: milliseconds since 1970.
pub(crate) const EPOCH_MS: u64 = 1_700_000_000_000;

/// Locks, whatever a simulated crash left behind.
pub(crate) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(|held| held.into_inner())
}

/// Clock, randomness and spawner of a simulated process. Time outlives the process.
#[derive(Clone)]
pub(crate) struct SimWorld(Arc<Mutex<Shared>>);

struct Shared {
    now: u64,
    random: StdRng,
    timers: BTreeMap<(u64, u64), Waker>,
    timers_made: u64,
    spawned: Vec<BoxFuture<()>>,
}

impl SimWorld {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            now: EPOCH_MS,
            random: StdRng::seed_from_u64(seed),
            timers: BTreeMap::new(),
            timers_made: 0,
            spawned: Vec::new(),
        })))
    }

    pub(crate) fn now_ms(&self) -> u64 {
        lock(&self.0).now
    }

    /// A number below `end`.
    pub(crate) fn below(&self, end: u64) -> u64 {
        lock(&self.0).random.random_range(0..end.max(1))
    }

    /// True in `percent` of all cases.
    pub(crate) fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) async fn sleep_ms(&self, ms: u64) {
        let at = WallTime(self.now_ms() + ms);
        self.sleep_until(at).await;
    }

    /// The time of the next timer.
    pub(crate) fn next_timer(&self) -> Option<u64> {
        lock(&self.0).timers.keys().next().map(|(at, _)| *at)
    }

    /// Moves time to `at` and wakes who waited for it.
    pub(crate) fn advance(&self, at: u64) {
        let mut shared = lock(&self.0);
        shared.now = shared.now.max(at);
        let later = shared.timers.split_off(&(at + 1, 0));
        let due = std::mem::replace(&mut shared.timers, later);
        drop(shared);
        due.into_values().for_each(Waker::wake);
    }

    /// The process is gone: so is what it had begun.
    pub(crate) fn forget_process(&self) {
        let (timers, spawned) = {
            let mut shared = lock(&self.0);
            (
                std::mem::take(&mut shared.timers),
                std::mem::take(&mut shared.spawned),
            )
        };
        drop((timers, spawned));
    }
}

struct Sleep {
    world: SimWorld,
    at: u64,
    key: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let world = self.world.clone();
        let mut shared = lock(&world.0);
        if shared.now >= self.at {
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| {
            shared.timers_made += 1;
            (self.at, shared.timers_made)
        });
        shared.timers.insert(key, context.waker().clone());
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = lock(&self.world.0).timers.remove(&key);
            drop(waker);
        }
    }
}

impl Clock for SimWorld {
    fn now(&self) -> WallTime {
        WallTime(self.now_ms())
    }

    fn sleep_until(&self, at: WallTime) -> BoxFuture<()> {
        Box::pin(Sleep {
            world: self.clone(),
            at: at.0,
            key: None,
        })
    }

    /// It goes on over crashes, and is never behind.
    fn go_on_from(&self, _: WallTime) {}
}

impl Random for SimWorld {
    fn fill(&self, bytes: &mut [u8]) {
        lock(&self.0).random.fill(bytes);
    }
}

impl Spawner for SimWorld {
    fn spawn(&self, task: BoxFuture<()>) {
        lock(&self.0).spawned.push(task);
    }

    fn spawn_work(&self, work: Work) {
        self.spawn(Box::pin(async move { work() }));
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Ready = Arc<Mutex<Vec<u64>>>;

struct TaskWaker {
    id: u64,
    ready: Ready,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = lock(&self.ready);
        if !ready.contains(&self.id) {
            ready.push(self.id);
        }
    }
}

/// The tasks of one process.
#[derive(Default)]
pub(crate) struct Tasks {
    tasks: BTreeMap<u64, Task>,
    ready: Ready,
    made: u64,
}

/// What a turn came to.
pub(crate) enum Turn {
    Polled,
    Idle,
    Crashed,
}

impl Tasks {
    pub(crate) fn add(&mut self, task: impl Future<Output = ()> + 'static) {
        self.add_boxed(Box::pin(task));
    }

    fn add_boxed(&mut self, task: Task) {
        self.made += 1;
        self.tasks.insert(self.made, task);
        lock(&self.ready).push(self.made);
    }

    /// Polls one of the tasks that can go on, chosen by the seed.
    pub(crate) fn turn(&mut self, world: &SimWorld) -> Turn {
        let spawned = std::mem::take(&mut lock(&world.0).spawned);
        spawned.into_iter().for_each(|task| self.add_boxed(task));
        let id = {
            let mut ready = lock(&self.ready);
            if ready.is_empty() {
                return Turn::Idle;
            }
            let place = world.below(ready.len() as u64);
            ready.swap_remove(usize::try_from(place).expect("few tasks"))
        };
        let Some(mut task) = self.tasks.remove(&id) else {
            return Turn::Polled;
        };
        let waker = Waker::from(Arc::new(TaskWaker {
            id,
            ready: Arc::clone(&self.ready),
        }));
        let polled = catch_unwind(AssertUnwindSafe(|| {
            task.as_mut().poll(&mut Context::from_waker(&waker))
        }));
        match polled {
            Ok(Poll::Ready(())) => Turn::Polled,
            Ok(Poll::Pending) => {
                self.tasks.insert(id, task);
                Turn::Polled
            }
            Err(panic) if is_crash(&*panic) => Turn::Crashed,
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// Whether a panic is a simulated crash.
pub(crate) fn is_crash(panic: &(dyn Any + Send)) -> bool {
    panic.is::<Crash>()
}
