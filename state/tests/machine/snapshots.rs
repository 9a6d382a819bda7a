//! Golden snapshots: for each layout of the state that can be read, what lives were written as.
//!
//! Where the log before a snapshot was dropped, nothing else knows that past. A change of a type
//! of the state fails here. If no release wrote the newest layout, `INFERNET_BLESS=1` writes it
//! and its snapshots anew. If one did, the layout becomes an old one, with its text, its reader
//! and its golden file as they are, and the state as it is now gets the next number.

use std::fmt::Write;

use crate::{
    common::{
        golden::{self, hex, unhex},
        layout::layout_of,
    },
    logs::lives,
};
use infernet_state::{
    Machine,
    machine::{SnapshotError, layouts},
};

fn file(number: u16) -> String {
    format!("snapshots/{number}")
}

/// The snapshots of a layout as committed: the life, the bytes.
fn committed(number: u16) -> Vec<(String, Vec<u8>)> {
    let text = std::fs::read_to_string(golden::place(&file(number)))
        .unwrap_or_else(|error| panic!("{}: {error}", file(number)));
    let snapshots = text.lines().filter_map(|line| line.split_once(' '));
    snapshots
        .map(|(life, bytes)| (life.to_owned(), unhex(bytes)))
        .collect()
}

#[test]
fn the_newest_layout_is_the_written_one() {
    let now = layout_of::<Machine>();
    let (number, text) = layouts().next().expect("one is written");
    if golden::blessing() {
        golden::hold(
            &format!("../../src/machine/layouts/{number}.txt"),
            now.as_bytes(),
        );
        return;
    }
    for (was, is) in text.lines().zip(now.lines()) {
        assert_eq!(
            was, is,
            "the layout of the state changed: see `snapshots.rs`"
        );
    }
    assert_eq!(
        text, now,
        "the layout of the state changed: see `snapshots.rs`"
    );
}

/// What a snapshot holds is what the replay of the log leads to, whatever layout it is in.
#[test]
fn golden_snapshots_hold_what_the_logs_lead_to() {
    for (at, (number, layout)) in layouts().enumerate() {
        if at == 0 && golden::blessing() {
            assert_eq!(
                layout,
                layout_of::<Machine>(),
                "the layout is written anew: once more, for its snapshots"
            );
            let mut text = String::new();
            for (life, machine) in lives() {
                let bytes = machine.snapshot().expect("encodes");
                writeln!(text, "{life} {}", hex(&bytes)).expect("grows");
            }
            golden::hold(&file(number), text.as_bytes());
        }
        let committed = committed(number);
        assert!(committed.len() >= 8, "{number}");
        for (life, bytes) in committed {
            let restored =
                Machine::restore(&bytes).unwrap_or_else(|error| panic!("{life}: {error}"));
            let (_, machine) = lives().find(|(of, _)| *of == life).expect("a life");
            if at == 0 {
                let digest = Machine::snapshot_digest(&bytes);
                assert_eq!(digest, Ok(machine.digest()), "{number} {life}");
            }
            assert_eq!(restored, machine, "{number} {life}");
        }
    }
}

#[test]
fn bytes_of_another_layout_are_refused_and_name_their_program() {
    let machine = lives().next().expect("a life").1;
    let bytes = machine.snapshot().expect("encodes");
    let (number, _) = layouts().next().expect("one is written");
    // The number (4, 5), or the fingerprint (6 to 13): the state itself would decode.
    for place in 4..14 {
        let mut other = bytes.clone();
        other[place] ^= 1;
        match Machine::restore(&other) {
            Err(SnapshotError::Unknown {
                number: said,
                program,
                ..
            }) => {
                assert_eq!(said == number, place > 5);
                assert_eq!(program, env!("CARGO_PKG_VERSION"));
            }
            restored => panic!("{place}: {restored:?}"),
        }
    }
    for cut in 0..bytes.len() {
        assert_eq!(
            Machine::restore(&bytes[..cut]),
            Err(SnapshotError::Malformed)
        );
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(Machine::restore(&longer), Err(SnapshotError::Malformed));
    // As states were written before they had a head.
    assert_eq!(Machine::restore(&[0; 64]), Err(SnapshotError::Malformed));
}

/// Two types that only a name tells apart.
#[test]
fn a_layout_names_every_field_in_its_place() {
    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its layout is asked for")]
    struct Before {
        owed: u64,
        paid: Option<Vec<u64>>,
        of: Kind,
    }
    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its layout is asked for")]
    enum Kind {
        Plain,
        Nested { deep: Result<u8, [u8; 2]> },
    }
    assert_eq!(
        layout_of::<Before>(),
        "Before { owed: u64, paid: Option<[u64]>, of: Kind }\n\
         Kind.0 Plain\n\
         Kind.1 Nested { deep: Result }\n\
         Result.0 Ok(u8)\n\
         Result.1 Err((u8, u8))\n"
    );
}
