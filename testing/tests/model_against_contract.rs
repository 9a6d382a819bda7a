//! Random sequences of calls, on the model and on bytecode: this project's contracts, and the specification of the
//! original ones written down in Solidity.
//!
//! `INFERNET_TEST_CASES` sets the number of sequences, `INFERNET_TEST_LONG=1` plays ten times as many,
//! `INFERNET_TEST_SEED` another series.

use std::time::Instant;

use infernet_testing::{
    evm::Build,
    model::{Branch, Infernet, Reference, Rules},
    play::{Report, Series},
    twin::{unreachable_here, unreachable_in_reference},
};

/// Calls in a sequence.
const CALLS: usize = 50;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seed() -> u64 {
    number("INFERNET_TEST_SEED").unwrap_or(1)
}

/// How many sequences are asked for.
fn cases() -> u32 {
    let long = number("INFERNET_TEST_LONG").unwrap_or(0) != 0;
    let usual = if long { 10_000 } else { 1_000 };
    u32::try_from(number("INFERNET_TEST_CASES").unwrap_or(usual)).expect("so many cases take years")
}

/// Plays the sequences on two threads; each has a series of its own.
fn play_all(rules: &'static dyn Rules, build: Option<Build>, cases: u32) -> Report {
    let started = Instant::now();
    let seed = seed();
    let series =
        [(seed, cases.div_ceil(2)), (seed ^ 0x5eed, cases / 2)].map(|(seed, cases)| Series {
            rules,
            build,
            seed,
            cases,
            calls: CALLS,
        });
    let reports = std::thread::scope(|scope| {
        let threads = series.map(|series| scope.spawn(move || series.play()));
        threads.map(|thread| thread.join().expect("playing does not panic"))
    });
    let mut sum = Report::default();
    for report in reports {
        sum.merge(&report.unwrap_or_else(|failure| panic!("seed {seed}: {failure}")));
    }
    println!("{}", sum.coverage);
    println!(
        "{} sequences (seed {seed}) by the rules {rules:?}: {} calls accepted, {} refused, in {:?}",
        sum.sequences,
        sum.accepted,
        sum.refused,
        started.elapsed()
    );
    sum
}

/// Fails if a branch was never taken that can be; a few sequences cannot reach everything.
fn assert_reached(report: &Report, can_be_missed: impl Fn(Branch) -> bool) {
    if report.sequences >= 1_000 {
        let missed = report.coverage.missed();
        let missed: Vec<_> = missed
            .into_iter()
            .filter(|branch| !can_be_missed(*branch))
            .collect();
        assert_eq!(
            missed,
            [],
            "these were never reached: the sequences have lost their teeth"
        );
    }
}

#[test]
fn the_contracts_do_what_the_model_says() {
    let report = play_all(&Infernet, None, cases());
    assert_reached(&report, |branch| unreachable_here().contains(&branch));
}

#[test]
fn the_specification_does_what_the_reference_model_says() {
    let report = play_all(&Reference, Some(Build::Reference), cases());
    assert_reached(&report, |branch| {
        unreachable_in_reference().contains(&branch) || branch.is_deviation()
    });
}
