//! Golden events: for each kind and each version of its encoding that was ever written, bytes and
//! what they mean. Old logs stay readable as long as this passes.

use std::fmt::Write;

use crate::common::{
    act::cases,
    golden::{self, hex, unhex},
    samples::{config, samples},
};
use infernet_state::{
    Event,
    codec::{self, CodecError, EVENT_BYTES_MAX, encodings},
    event::{ChainFact, Outcome, ReportedStatus},
    types::{Amount, SubscriptionId, WallTime},
};
use proptest::prelude::*;

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
    for (kind, version) in [(0, 1), (16, 1), (1, 0), (1, 2), (2, 4), (u16::MAX, u8::MAX)] {
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

/// Samples whose lists have `len` of the smallest elements: a length, a tag or a number of one
/// byte stands for the most memory.
fn long(len: usize) -> Vec<Event> {
    let mut grown = Vec::new();
    let mut with = |change: &dyn Fn(&mut infernet_state::Config)| {
        let mut config = config();
        change(&mut config);
        grown.push(Event::ConfigChanged(config));
    };
    with(&|config| config.containers = vec![Default::default(); len]);
    with(&|config| config.containers[0].allowed_addresses = vec![Default::default(); len]);
    with(&|config| config.chains = vec![Vec::new(); len]);
    with(&|config| config.chains[0] = vec![String::new(); len]);
    with(&|config| config.verifiers = Some(vec![Default::default(); len]));
    with(&|config| config.rates = vec![(Default::default(), Amount::ZERO); len]);
    for event in samples() {
        match event {
            Event::ChainCommitted { block, .. } => grown.push(Event::ChainCommitted {
                block,
                facts: vec![
                    ChainFact::SubscriptionCancelled {
                        id: SubscriptionId(1)
                    };
                    len
                ],
            }),
            Event::SubscriptionsSynced {
                block,
                subscriptions,
                next,
            } if !subscriptions.is_empty() => grown.push(Event::SubscriptionsSynced {
                block,
                subscriptions: vec![subscriptions[0].clone(); len],
                next,
            }),
            Event::JobAccepted(mut request) if request.idempotency.is_none() => {
                request.containers = vec![String::new(); len];
                grown.push(Event::JobAccepted(request));
            }
            Event::JobReported {
                job,
                client,
                at,
                status: status @ ReportedStatus::Running,
                result,
                ..
            } => grown.push(Event::JobReported {
                job,
                client,
                at,
                status,
                containers: vec![String::new(); len],
                result,
            }),
            Event::EffectEnded {
                effect,
                attempt,
                at,
                outcome: Outcome::Unknown { .. },
            } => grown.push(Event::EffectEnded {
                effect,
                attempt,
                at,
                outcome: Outcome::Unknown {
                    reason: "r".repeat(len),
                },
            }),
            Event::NodeStarted { .. }
            | Event::ConfigChanged(_)
            | Event::Upgraded { .. }
            | Event::WallTimePassed { .. }
            | Event::AccountObserved { .. }
            | Event::QuarantineLifted
            | Event::HeadObserved { .. }
            | Event::ChainReorged { .. }
            | Event::ChainFinalized { .. }
            | Event::SubscriptionsSynced { .. }
            | Event::JobAccepted(_)
            | Event::DelegatedAccepted(_)
            | Event::JobReported { .. }
            | Event::JobCancelled { .. }
            | Event::EffectEnded { .. } => {}
        }
    }
    grown
}

/// How many elements fill an event of each list of [`long`].
fn full() -> Vec<usize> {
    let sizes = |len| {
        long(len)
            .iter()
            .map(|event| codec::encode(event).expect("small").body.len())
            .collect::<Vec<_>>()
    };
    let (short, longer) = (sizes(100), sizes(200));
    let each = short.iter().zip(&longer);
    each.map(|(short, longer)| {
        let element = (longer - short) / 100;
        // The length itself takes up to four bytes more where it is larger.
        100 + (EVENT_BYTES_MAX - 4 - short) / element
    })
    .collect()
}

proptest! {
    #![proptest_config(cases(4))]

    /// Whatever is written is read, however long its lists are.
    #[test]
    fn every_written_event_is_read(parts in prop_oneof![Just(1_000_usize), 0_usize..1_200]) {
        for (list, full) in full().into_iter().enumerate() {
            let len = full * parts / 1_000;
            let event = long(len).swap_remove(list);
            match codec::encode(&event) {
                Ok(encoded) => {
                    prop_assert!(parts != 1_000 || encoded.body.len() > EVENT_BYTES_MAX - 512);
                    let decoded = codec::decode(encoded.kind, encoded.version, &encoded.body);
                    prop_assert!(decoded.as_ref() == Ok(&event), "{} of list {}", len, list);
                }
                Err(_) => prop_assert!(parts > 1_000, "{} of list {} do not fit", len, list),
            }
        }
    }
}

/// The length of the version's name, beside it: time, and the length itself in three bytes.
#[test]
fn an_event_is_as_long_as_it_may_be_and_no_longer() {
    let started = |len: usize| Event::NodeStarted {
        at: WallTime(0),
        version: "x".repeat(len),
    };
    let most = EVENT_BYTES_MAX - 4;
    let encoded = codec::encode(&started(most)).expect("it fits");
    assert_eq!(encoded.body.len(), EVENT_BYTES_MAX);
    let (kind, version) = (encoded.kind, encoded.version);
    let decoded = codec::decode(kind, version, &encoded.body);
    assert_eq!(decoded, Ok(started(most)));
    let len = EVENT_BYTES_MAX + 1;
    let too_large = Err(CodecError::TooLarge { kind, len });
    assert_eq!(codec::encode(&started(most + 1)), too_large);
    // The same in bytes: well-formed, and one too many.
    let mut longer = encoded.body;
    let said = u16::try_from(most + 1).expect("of two bytes");
    longer[2..4].copy_from_slice(&said.to_le_bytes());
    longer.push(b'x');
    let malformed = Err(CodecError::Malformed { kind, version });
    assert_eq!(codec::decode(kind, version, &longer), malformed);
}
