//! Golden events: for each kind and each version of its encoding that was ever written, bytes and
//! what they mean. Old logs stay readable as long as this passes.

use std::fmt::Write;

use crate::common::{
    golden::{self, hex, unhex},
    samples::samples,
};
use infernet_state::codec::{self, EVENT_BYTES_MAX, encodings};

fn file(kind: u16, version: u8) -> String {
    format!("events/{kind:02}.v{version}")
}

/// The encodings and the events that they stand for, one after the other.
fn text(entries: &[(String, String)]) -> String {
    let mut text = String::new();
    for (bytes, view) in entries {
        writeln!(text, "bytes {bytes}\n{view}\n").expect("text grows");
    }
    text
}

/// The bytes of a committed file.
fn committed(name: &str) -> Vec<Vec<u8>> {
    std::fs::read_to_string(golden::place(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
        .lines()
        .filter_map(|line| line.strip_prefix("bytes "))
        .map(unhex)
        .collect()
}

#[test]
fn what_is_written_today_is_as_committed() {
    for (kind, version, _) in encodings().filter(|(_, _, newest)| *newest) {
        let entries: Vec<(String, String)> = samples()
            .iter()
            .filter(|event| codec::kind_of(event) == kind)
            .map(|event| {
                let encoded = codec::encode(event).expect("a sample is small");
                assert_eq!((encoded.kind, encoded.version), (kind, version));
                (hex(&encoded.body), format!("{event:#?}"))
            })
            .collect();
        assert!(!entries.is_empty(), "kind {kind} has no sample");
        golden::hold(&file(kind, version), text(&entries).as_bytes());
    }
}

#[test]
fn what_was_ever_written_means_what_is_committed() {
    for (kind, version, newest) in encodings() {
        let name = file(kind, version);
        let entries: Vec<(String, String)> = committed(&name)
            .iter()
            .map(|body| {
                let event = codec::decode(kind, version, body)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                let again = codec::encode(&event).expect("it was small");
                let decoded = codec::decode(again.kind, again.version, &again.body);
                assert_eq!(decoded.as_ref(), Ok(&event), "{name}");
                assert_eq!(newest, again.version == version && again.body == *body);
                (hex(body), format!("{event:#?}"))
            })
            .collect();
        assert!(!entries.is_empty(), "{name} holds nothing");
        // The words for an old event may change, and its bytes never do.
        golden::hold(&name, text(&entries).as_bytes());
    }
}

#[test]
fn every_golden_file_is_of_an_encoding() {
    let known: Vec<String> = encodings()
        .map(|(kind, version, _)| file(kind, version))
        .collect();
    for entry in std::fs::read_dir(golden::place("events")).expect("a folder") {
        let name = entry.expect("a file").file_name();
        let name = format!("events/{}", name.to_str().expect("a plain name"));
        assert!(known.contains(&name), "{name}");
    }
}

#[test]
fn nothing_else_is_an_event() {
    for (kind, version, _) in encodings() {
        for body in committed(&file(kind, version)) {
            for cut in 0..body.len() {
                assert!(
                    codec::decode(kind, version, &body[..cut]).is_err(),
                    "{kind} {cut}"
                );
            }
            let mut longer = body.clone();
            longer.push(0);
            assert!(codec::decode(kind, version, &longer).is_err(), "{kind}");
        }
    }
    for (kind, version) in [(0, 1), (16, 1), (1, 0), (1, 2), (2, 3), (u16::MAX, u8::MAX)] {
        assert!(
            codec::decode(kind, version, &[]).is_err(),
            "{kind} {version}"
        );
    }
    assert!(codec::decode(1, 1, &vec![0xff; EVENT_BYTES_MAX * 2]).is_err());
}

#[test]
fn what_is_too_large_is_refused() {
    let mut samples = samples();
    let large = samples.iter_mut().find_map(|event| match event {
        infernet_state::Event::NodeStarted { version, .. } => {
            *version = "v".repeat(EVENT_BYTES_MAX);
            Some(codec::encode(event))
        }
        _ => None,
    });
    assert!(
        matches!(large, Some(Err(codec::CodecError::TooLarge { kind: 1, len })) if len > EVENT_BYTES_MAX),
        "{large:?}"
    );
}
