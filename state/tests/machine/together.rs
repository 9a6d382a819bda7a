//! Requests that are recorded in one commit: each is judged beside the others, and each that is
//! accepted takes effect.

use std::collections::VecDeque;

use infernet_state::{
    Event,
    config::ClientId,
    delegation::delegated_job_id,
    event::{Idempotency, JobRequest, ReportedStatus},
    machine::{Claims, JobStatus, Refusal, Verdict},
    types::{JobId, WallTime},
};
use proptest::prelude::*;

use crate::common::{World, act::cases, setup::*};

/// A request of a small pool, so that they meet.
#[derive(Clone, Debug)]
enum Asked {
    Job {
        id: u8,
        client: u8,
        key: Option<(u8, u8)>,
    },
    Delegated {
        nonce: u8,
        client: u8,
        late: bool,
        body: u8,
    },
    Reported {
        id: u8,
        end: bool,
    },
    Cancelled {
        id: u8,
    },
}

fn asked() -> impl Strategy<Value = Asked> {
    let key = prop::option::of((0..3_u8, 0..2_u8));
    prop_oneof![
        4 => (0..6_u8, 0..2_u8, key).prop_map(|(id, client, key)| Asked::Job { id, client, key }),
        3 => (0..5_u8, 0..2_u8, any::<bool>(), 0..2_u8).prop_map(|(nonce, client, late, body)| {
            Asked::Delegated { nonce, client, late, body }
        }),
        2 => (0..6_u8, any::<bool>()).prop_map(|(id, end)| Asked::Reported { id, end }),
        1 => (0..6_u8).prop_map(|id| Asked::Cancelled { id }),
    ]
}

fn keyed(id: u8, client: u8, key: Option<(u8, u8)>, at: WallTime) -> JobRequest {
    let mut request = job(id, &["alpha"], at);
    request.client = ClientId([client; 16]);
    request.idempotency = key.map(|(key, body)| Idempotency {
        key: hash("key", key.into()),
        body: hash("body", body.into()),
    });
    request
}

impl Asked {
    fn event(&self, world: &World, at: WallTime) -> Event {
        match *self {
            Self::Job { id, client, key } => Event::JobAccepted(keyed(id, client, key, at)),
            Self::Delegated {
                nonce,
                client,
                late,
                body,
            } => {
                let mut terms = subscription(&["alpha"]);
                let now = u32::try_from(world.head().block.time.0).unwrap();
                terms.active_at = if late { now + 40 } else { now };
                let mut request = delegated(nonce.into(), terms, at);
                request.client = ClientId([client; 16]);
                request.input = payload("delegated", body.into());
                Event::DelegatedAccepted(request)
            }
            Self::Reported { id, end } => Event::JobReported {
                job: JobId([id; 16]),
                client: ClientId([0; 16]),
                at,
                status: if end {
                    ReportedStatus::Success
                } else {
                    ReportedStatus::Running
                },
                containers: vec!["alpha".to_owned()],
                result: None,
            },
            Self::Cancelled { id } => Event::JobCancelled {
                job: JobId([id; 16]),
                at,
            },
        }
    }
}

fn small() -> infernet_state::Config {
    let mut config = config();
    config.limits.jobs_open_max = 3;
    config.limits.delegated_waiting_max = 2;
    config.limits.job_expiry_ms = 3_000;
    config.limits.breaker_losses = 2;
    config.limits.breaker_pause_ms = 4_000;
    config.limits.result_age_max_ms = 20_000;
    config
}

/// The events whose requests are accepted, as a commit would record them, and what is put off.
fn judged(world: &World, waiting: Vec<Event>) -> (Vec<Event>, Vec<Event>) {
    let mut claims = Claims::default();
    let (mut accepted, mut put_off) = (Vec::new(), Vec::new());
    for event in waiting {
        match world.machine.judge(&event, &mut claims) {
            Some(Verdict::Accept) => accepted.push(event),
            Some(Verdict::Known(_) | Verdict::Refused(_)) => {}
            None => put_off.push(event),
        }
    }
    (accepted, put_off)
}

/// Whether an accepted request was taken up.
fn holds(world: &World, event: &Event) -> bool {
    match event {
        Event::JobAccepted(request) => {
            let job = world.machine.job(request.job);
            job.is_some_and(|job| job.containers == request.containers && job.input.is_some())
        }
        Event::DelegatedAccepted(request) => {
            let key = (request.subscription.owner, request.nonce);
            let known = world.machine.delegations().get(key);
            known.is_some_and(|known| known.request == *request)
                && world.machine.job(delegated_job_id(key)).is_some()
        }
        Event::JobReported { job, status, .. } => {
            let now = world.machine.job_status(*job);
            matches!(
                (status, now),
                (ReportedStatus::Success, Some(JobStatus::Success { .. }))
                    | (ReportedStatus::Running, Some(_))
            )
        }
        Event::JobCancelled { .. } => true,
        other => panic!("not a request: {other:?}"),
    }
}

proptest! {
    #![proptest_config(cases(300))]

    /// Whatever meets in a commit, and although timers run out between the verdicts and the turns.
    #[test]
    fn each_accepted_request_takes_effect(
        commits in prop::collection::vec(
            (prop::collection::vec((asked(), 0..2_500_u64), 1..9), any::<bool>()),
            1..12,
        ),
    ) {
        let mut world = World::new(small());
        let mut put_off = Vec::new();
        for (requests, works) in commits {
            let mut waiting = std::mem::take(&mut put_off);
            for (asked, later) in requests {
                world.wall += later;
                waiting.push(asked.event(&world, world.now()));
            }
            let some = !waiting.is_empty();
            let first = waiting.first().cloned();
            let (accepted, later) = judged(&world, waiting);
            prop_assert!(!some || later.first() != first.as_ref(), "no progress");
            for event in accepted {
                world.apply(event.clone());
                prop_assert!(holds(&world, &event), "{event:?}");
            }
            if works {
                world.settle();
            }
            put_off = later;
        }
        // What was put off comes to its verdict.
        let mut left: VecDeque<_> = put_off.into();
        for _ in 0..left.len() {
            let (accepted, later) = judged(&world, left.into());
            for event in accepted {
                world.apply(event);
            }
            left = later.into();
        }
        prop_assert!(left.is_empty());
        prop_assert_eq!(world.replayed(), world.machine);
    }
}

/// A key, an id and the last room are given once, and what meets them waits for its verdict.
#[test]
fn what_depends_on_others_of_its_commit_waits() {
    let mut world = World::new(small());
    let at = world.now();
    let request = |id, key| Event::JobAccepted(keyed(id, 1, key, at));
    let mut claims = Claims::default();
    let first = request(1, Some((1, 1)));
    let mut ask = |event: &Event| world.machine.judge(event, &mut claims);
    assert_eq!(ask(&first), Some(Verdict::Accept));
    assert_eq!(ask(&request(2, Some((1, 1)))), None, "its key");
    assert_eq!(
        ask(&request(2, Some((1, 2)))),
        None,
        "its key, another body"
    );
    assert_eq!(ask(&request(1, None)), None, "its id");
    let cancel = Event::JobCancelled {
        job: JobId([1; 16]),
        at,
    };
    assert_eq!(ask(&cancel), None, "about it");
    let unknown = Event::JobCancelled {
        job: JobId([9; 16]),
        at,
    };
    assert_eq!(ask(&unknown), Some(Verdict::Refused(Refusal::UnknownJob)));
    let second = request(2, None);
    assert_eq!(ask(&second), Some(Verdict::Accept));
    let report = Asked::Reported { id: 3, end: false }.event(&world, at);
    assert_eq!(ask(&report), Some(Verdict::Accept));
    assert_eq!(ask(&request(4, None)), None, "there is room for three");
    for event in [first, second, report] {
        world.apply(event);
    }
    let mut claims = Claims::default();
    let mut ask = |event: &Event| world.machine.judge(event, &mut claims);
    let known = Some(Verdict::Known(JobId([1; 16])));
    let refused = |refusal| Some(Verdict::Refused(refusal));
    assert_eq!(ask(&request(5, Some((1, 1)))), known);
    assert_eq!(ask(&request(5, Some((1, 2)))), refused(Refusal::Conflict));
    assert_eq!(ask(&request(4, None)), refused(Refusal::Busy));
    assert_eq!(ask(&cancel), Some(Verdict::Accept));
}

/// Of a client's delegated ones, too.
#[test]
fn room_for_delegated_ones_is_given_once() {
    let mut world = World::new(small());
    let mut claims = Claims::default();
    let ask = |world: &World, claims: &mut Claims, nonce, client, body| {
        let asked = Asked::Delegated {
            nonce,
            client,
            late: true,
            body,
        };
        world
            .machine
            .judge(&asked.event(world, world.now()), claims)
    };
    assert_eq!(ask(&world, &mut claims, 1, 1, 0), Some(Verdict::Accept));
    assert_eq!(ask(&world, &mut claims, 1, 1, 1), None, "the same nonce");
    assert_eq!(ask(&world, &mut claims, 2, 1, 0), Some(Verdict::Accept));
    assert_eq!(ask(&world, &mut claims, 3, 1, 0), None, "two of a client");
    assert_eq!(ask(&world, &mut claims, 3, 2, 0), Some(Verdict::Accept));
    assert_eq!(ask(&world, &mut claims, 4, 2, 0), None, "three of all");
    for (nonce, client) in [(1, 1), (2, 1), (3, 2)] {
        let asked = Asked::Delegated {
            nonce,
            client,
            late: true,
            body: 0,
        };
        let event = asked.event(&world, world.now());
        world.apply(event);
    }
    let mut claims = Claims::default();
    let busy = Some(Verdict::Refused(Refusal::Busy));
    assert_eq!(
        ask(&world, &mut claims, 3, 1, 1),
        Some(Verdict::Refused(Refusal::Conflict))
    );
    assert_eq!(ask(&world, &mut claims, 5, 1, 0), busy);
    assert_eq!(ask(&world, &mut claims, 5, 2, 0), busy);
}
