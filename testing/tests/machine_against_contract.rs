//! The node's machine at work on the contracts' bytecode: what it knows, sends and books is what they say, in calm
//! weather and in storms.
//!
//! `INFERNET_TEST_CASES` sets the number of sequences, `INFERNET_TEST_LONG=1` plays ten times as many,
//! `INFERNET_TEST_SEED` another series.

use std::time::Instant;

use infernet_testing::{
    model::Infernet,
    node::{Happened, Weather},
    play::{Report, Series},
};

/// Calls in a sequence, those of the machine not counted.
const CALLS: usize = 50;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays the sequences on two threads; each has a series of its own.
fn play(weather: Weather, enough: u32) {
    let started = Instant::now();
    let long = number("INFERNET_TEST_LONG").unwrap_or(0) != 0;
    let usual = u64::from(if long { 10 * enough } else { enough });
    let cases = number("INFERNET_TEST_CASES").unwrap_or(usual);
    let cases = u32::try_from(cases).expect("so many cases take years");
    let seed = number("INFERNET_TEST_SEED").unwrap_or(1);
    let series =
        [(seed, cases.div_ceil(2)), (seed ^ 0x5eed, cases / 2)].map(|(seed, cases)| Series {
            rules: &Infernet,
            build: None,
            seed,
            cases,
            calls: CALLS,
        });
    let ends = std::thread::scope(|scope| {
        let threads = series.map(|series| scope.spawn(move || series.play_machine(weather)));
        threads.map(|thread| thread.join().expect("playing does not panic"))
    });
    let (mut report, mut happened) = (Report::default(), Happened::default());
    for end in ends {
        let (calls, events) = end.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        report.merge(&calls);
        happened.merge(&events);
    }
    println!("{happened}");
    println!(
        "{} sequences (seed {seed}): {} calls accepted, {} refused, in {:?}",
        report.sequences,
        report.accepted,
        report.refused,
        started.elapsed()
    );
    // Another series reaches the rarest of it with more sequences.
    if cases >= enough && (seed == 1 || cases >= 10 * enough) {
        let missed = happened.missed(weather);
        assert_eq!(missed, Vec::<&str>::new(), "these never happened");
    }
}

#[test]
fn the_machine_knows_and_books_what_the_contracts_say() {
    play(Weather::Calm, 250);
}

#[test]
fn no_storm_makes_the_machine_lose_or_double_a_delivery() {
    play(Weather::Storms, 150);
}
