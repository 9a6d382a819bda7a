//! The production loop in a simulated world, crashed between any two of its steps.
//!
//! A failing history is printed by its name; `INFERNET_SIM_CASE=NAME` plays it alone.

mod driver_sim;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use driver_sim::{
    run::{Case, Plan, STORM_CRASHES, play},
    steps::How,
};

/// Crashes in the test command.
const CRASHES_MIN: u64 = 10_000;

/// Steps that a history comes to: the log is kept small in it.
const UPKEEP: [&str; 6] = [
    "log.after-snapshot",
    "log.read-snapshot",
    "log.closed",
    "log.adopted",
    "log.erased",
    "log.look",
];

/// Worlds in which every single step is crashed at.
const EXHAUSTIVE_SEEDS: std::ops::Range<u64> = 0..3;

/// Storms: enough for [`CRASHES_MIN`] by themselves.
const STORM_SEEDS: std::ops::Range<u64> = 1_000..1_000 + CRASHES_MIN / STORM_CRASHES + 1;

/// Plays cases on all cores; how often a process ended.
fn play_all(cases: &[Case]) -> u64 {
    let next = AtomicUsize::new(0);
    let crashes = AtomicU64::new(0);
    let broken: Mutex<Vec<Case>> = Mutex::default();
    let work = || {
        // The executor's time-outs want a timer; nobody turns it, so that none passes.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let _entered = runtime.enter();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            match catch_unwind(AssertUnwindSafe(|| play(*case))) {
                Ok(told) => {
                    crashes.fetch_add(told.crashes, Ordering::Relaxed);
                }
                Err(_) => {
                    eprintln!("broken: INFERNET_SIM_CASE={case}");
                    broken.lock().expect("whole").push(*case);
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let broken = broken.into_inner().expect("whole");
    assert!(
        broken.is_empty(),
        "{} of {} histories broke a promise; the first: INFERNET_SIM_CASE={}",
        broken.len(),
        cases.len(),
        broken[0]
    );
    crashes.into_inner()
}

/// Every step of a seed's calm history, ended badly in each way, and again in the recovery.
fn every_step(seed: u64) -> Vec<Case> {
    let steps = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let _entered = runtime.enter();
        play(Case {
            seed,
            plan: Plan::Calm,
        })
        .steps
    })
    .join()
    .expect("a calm history");
    for name in UPKEEP {
        assert!(steps.contains(&name), "seed {seed} never came to {name}");
    }
    let mut cases = Vec::new();
    for (step, name) in (0..).zip(&steps) {
        // A recovery passes about a dozen steps before its first new event.
        let again = step % 13;
        let mut add = |how| {
            let plan = Plan::At { step, how, again };
            cases.push(Case { seed, plan });
        };
        add(How::Crash);
        if name.starts_with("log.") {
            add(How::Fail);
        }
    }
    cases
}

#[test]
fn crashed_at_ten_thousand_steps_it_keeps_its_promises() {
    let cases: Vec<Case> = match std::env::var("INFERNET_SIM_CASE") {
        Ok(name) => vec![name.parse().expect("a case")],
        Err(_) => EXHAUSTIVE_SEEDS
            .flat_map(every_step)
            .chain(STORM_SEEDS.map(|seed| Case {
                seed,
                plan: Plan::Storm,
            }))
            .collect(),
    };
    let begun = std::time::Instant::now();
    let crashes = play_all(&cases);
    println!(
        "{} histories, {crashes} crashes, {:.1} s",
        cases.len(),
        begun.elapsed().as_secs_f64()
    );
    assert!(cases.len() == 1 || crashes >= CRASHES_MIN, "{crashes}");
}
