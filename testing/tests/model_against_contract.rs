//! Random sequences of calls, on the model and on the contracts' bytecode.
//!
//! `INFERNET_TEST_CASES` sets the number of sequences, `INFERNET_TEST_LONG=1` plays ten times as many,
//! `INFERNET_TEST_SEED` another series.

use std::time::Instant;

use infernet_testing::{
    model::{Branch, Infernet},
    play::{Report, play_many},
    twin::unreachable_here,
};

/// Actions in a sequence.
const LENGTH: usize = 50;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays the sequences on two threads; each has a series of its own.
fn play_all(cases: u64, seed: u64) -> Report {
    let (cases, rest) = (cases / 2, cases % 2);
    let series = [(seed, cases + rest), (seed ^ 0x5eed, cases)];
    let reports = std::thread::scope(|scope| {
        let threads = series.map(|(seed, cases)| {
            scope.spawn(move || {
                let cases = u32::try_from(cases).expect("so many cases take years");
                play_many(&Infernet, seed, cases, LENGTH)
            })
        });
        threads.map(|thread| thread.join().expect("playing does not panic"))
    });
    let mut sum = Report::default();
    for report in reports {
        let report = report.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        sum.merge(&report);
    }
    sum
}

#[test]
fn the_contracts_do_what_the_model_says() {
    let long = number("INFERNET_TEST_LONG").unwrap_or(0) != 0;
    let cases = number("INFERNET_TEST_CASES").unwrap_or(if long { 10_000 } else { 1_000 });
    let seed = number("INFERNET_TEST_SEED").unwrap_or(1);
    let started = Instant::now();
    let report = play_all(cases, seed);
    println!("{}", report.coverage);
    println!(
        "{} sequences (seed {seed}): {} calls accepted, {} refused, in {:?}",
        report.sequences,
        report.accepted,
        report.refused,
        started.elapsed()
    );
    if cases >= 1_000 {
        let missed: Vec<Branch> = report
            .coverage
            .missed()
            .into_iter()
            .filter(|branch| !unreachable_here().contains(branch))
            .collect();
        assert_eq!(
            missed,
            [],
            "these were never reached: the sequences have lost their teeth"
        );
    }
}
