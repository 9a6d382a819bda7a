//! Golden logs: whole lives of a node, with the digests that their replay leads to.
//!
//! A change of the machine that alters what an old log leads to fails here, and belongs behind
//! the next number of the logic (`Upgraded`). The digest of the effects must stay for ever; that
//! of the state changes with the layout of the state, which no log depends on.

use std::{collections::BTreeMap, fmt::Write};

use crate::common::{
    act::*,
    golden::{self, hex, unhex},
    *,
};
use infernet_state::{
    Event, Machine, codec,
    config::ClientId,
    delivery::State,
    event::{Outcome, ReportedStatus},
    job::Stage,
    ledger::{Balance, Role},
    machine::{LOGIC, SnapshotError},
    types::{Interval, JobId, JobNo, SubscriptionId},
};

/// A life and what is to be seen of it at the end.
struct Life {
    name: &'static str,
    what: &'static str,
    live: fn() -> World,
    judge: fn(&Machine),
}

const LIVES: [Life; 12] = [
    Life {
        name: "callback-paid",
        what: "A callback with a price is answered and paid.",
        live: || {
            let mut world = World::new(world_config(false));
            world.next.push(Next::Create(terms(1, 1)));
            world.run(6);
            world
        },
        judge: |machine| {
            assert_eq!(finals(machine), 1);
            assert_eq!(
                posted(machine, Role::Earnings),
                Balance::Credit(10_000.into())
            );
            assert_eq!(posted(machine, Role::Receivable), Balance::Debit(0.into()));
        },
    },
    Life {
        name: "recurring-redundancy",
        what: "Intervals are answered by this node and another; one is met by others before it.",
        live: || {
            let mut world = World::new(world_config(false));
            world.next.push(Next::Create(terms(5, 2)));
            world.run(2);
            for round in 0..4 {
                world.next.push(Next::Fulfil(1, OTHER));
                if round == 2 {
                    world.next.push(Next::Fulfil(1, VERIFIER));
                }
                world.mine(40);
                world.run(3);
            }
            world
        },
        judge: |machine| {
            assert!(finals(machine) >= 3, "{:?}", machine.deliveries());
            let tracked = machine.subscriptions().get(SubscriptionId(1));
            assert_eq!(tracked.expect("tracked").responses.count, 2);
        },
    },
    Life {
        name: "delegated",
        what: "A delegated subscription waits to become active; its first answer creates it.",
        live: || {
            let mut world = World::new(world_config(false));
            let mut terms = terms(5, 1);
            terms.active_at = world.head().block.time.as_contract_time() + 5;
            let at = world.now();
            world.apply(Event::DelegatedAccepted(delegated(7, terms, at)));
            world.settle();
            for _ in 0..4 {
                world.run(4);
                world.mine(36);
            }
            world.run(2);
            world
        },
        judge: |machine| {
            let (_, delegation) = machine.delegations().iter().next().expect("kept");
            assert!(delegation.id.is_some());
            assert!(finals(machine) >= 3);
        },
    },
    Life {
        name: "proof-slash",
        what: "A stake is allowed and locked; the verifier finds one proof valid, one not.",
        live: || {
            let mut world = World::new(world_config(false));
            for _ in 0..2 {
                world.next.push(Next::Create(terms(3, 1)));
            }
            world.run(10);
            world.next.push(Next::Judge(0, false));
            world.run(1);
            world.next.push(Next::Judge(0, true));
            world.run(1);
            world
        },
        judge: |machine| {
            assert_eq!(
                posted(machine, Role::Slashes),
                Balance::Debit(10_000.into())
            );
            assert_eq!(posted(machine, Role::Stake), Balance::Debit(0.into()));
            assert_eq!(posted(machine, Role::Escrow), Balance::Debit(0.into()));
        },
    },
    Life {
        name: "reorg",
        what: "Creation and delivery go with their blocks; the id comes back for a stranger.",
        live: || {
            let mut world = World::new(world_config(false));
            world.next.push(Next::Create(terms(1, 1)));
            for _ in 0..4 {
                world.mine(1);
                world.settle();
            }
            world.reorg(1);
            world.settle();
            for _ in 0..2 {
                world.mine(1);
                world.settle();
            }
            world.reorg(6);
            world.settle();
            world.next.push(Next::Create(terms(0, 1)));
            world.run(6);
            world
        },
        judge: |machine| {
            assert!(
                machine.ledger().entries().any(|(_, entry)| {
                    entry.state == infernet_state::ledger::EntryState::Voided
                })
            );
            assert_eq!(finals(machine), 1);
        },
    },
    Life {
        name: "offchain-chain",
        what: "A client's job runs through two containers; another fails; a third is withdrawn.",
        live: || {
            let mut world = World::new(world_config(false));
            let at = world.now();
            for number in 1..4 {
                world.apply(Event::JobAccepted(job(number, &["alpha", "beta"], at)));
            }
            world.apply(Event::JobCancelled {
                job: JobId([3; 16]),
                at,
            });
            let second = world.issued.remove(1).expect("three calls and a stop");
            world.end(
                &second,
                Outcome::Failed(infernet_state::event::Failure::Container {
                    error: payload("error", 1),
                    retry: false,
                }),
            );
            world.settle();
            world
        },
        judge: |machine| {
            let stage = |number| machine.job(JobId([number; 16])).map(|job| job.stage);
            assert_eq!(stage(1), Some(Stage::Succeeded));
            assert!(matches!(stage(2), Some(Stage::Failed(_))));
            assert!(matches!(stage(3), Some(Stage::Failed(_))));
            assert_eq!(machine.job(JobId([1; 16])).expect("kept").results.len(), 2);
        },
    },
    Life {
        name: "crash-restart",
        what: "The process dies with calls, signatures and transactions under way.",
        live: || {
            let mut world = World::new(world_config(false));
            world.next.push(Next::Create(terms(0, 1)));
            world.next.push(Next::Create(terms(2, 1)));
            world.mine(1);
            world.mine(1);
            // Carried out, and nobody heard of it: once for each thing that is asked.
            for _ in 0..8 {
                if let Some(issued) = world.issued.front().cloned() {
                    let _ = world.answer(&issued);
                }
                world.start(None);
                if let Some(issued) = world.issued.pop_front()
                    && let Some(outcome) = world.answer(&issued)
                {
                    world.end(&issued, outcome);
                }
            }
            world.run(4);
            world
        },
        judge: |machine| {
            assert_eq!(finals(machine), 1);
            let lost = machine.jobs().by_interval(SubscriptionId(2), Interval(1));
            assert!(matches!(
                lost.expect("kept").1.stage,
                Stage::Failed(infernet_state::job::Cause::NotRerun)
            ));
        },
    },
    Life {
        name: "absence",
        what: "The RPC is away, then the process; what others answered meanwhile is not begun.",
        live: || {
            let mut world = World::new(world_config(false));
            world.next.push(Next::Create(terms(5, 1)));
            world.run(3);
            for restarts in [false, true] {
                world.next.push(Next::Create(terms(0, 1)));
                world.grow(30, true, false);
                for id in 1..=world.head().subscriptions.len() {
                    let id = u32::try_from(id).expect("few");
                    world.next.push(Next::Fulfil(id, OTHER));
                }
                world.away(3, 15, restarts);
                world.read(usize::MAX);
                world.run(2);
            }
            world.mine(5);
            world.run(6);
            world
        },
        judge: |machine| {
            assert_eq!(machine.chain().catching_up, None);
            for id in [2, 3] {
                let begun = machine.jobs().by_interval(SubscriptionId(id), Interval(1));
                assert_eq!(begun.map(|(no, _)| no), None);
            }
            assert!(finals(machine) >= 1, "{:?}", machine.deliveries());
        },
    },
    Life {
        name: "foreign-nonce",
        what: "The key is used elsewhere; the node notices, and goes on behind it.",
        live: || {
            let mut world = World::new(world_config(true));
            for _ in 0..3 {
                world.next.push(Next::Create(terms(0, 1)));
            }
            world.mine(1);
            world.mine(1);
            world.settle();
            world.next.push(Next::Foreign);
            world.mine_block(1, false);
            world.wait(4_000);
            world.run(6);
            world
        },
        judge: |machine| {
            assert_eq!(machine.account().foreign_nonces(), 1);
            assert_eq!(finals(machine), 3);
        },
    },
    Life {
        name: "upgraded",
        what: "A log that an older logic began is continued by a newer one.",
        live: || {
            let mut world = World::new(world_config(false));
            world
                .log
                .retain(|event| !matches!(event, Event::Upgraded { .. }));
            world.machine = world.replayed();
            world.next.push(Next::Create(terms(0, 1)));
            world.run(2);
            world.start(None);
            world.next.push(Next::Create(terms(1, 1)));
            world.run(6);
            world
        },
        judge: |machine| {
            assert_eq!(machine.logic(), 1);
            assert_eq!(finals(machine), 2);
        },
    },
    Life {
        name: "quarantine",
        what: "A second copy used the key; nothing is sent until an operator lifts that.",
        live: || {
            let mut world = World::new(world_config(false));
            world.next.push(Next::Create(terms(0, 1)));
            world.run(6);
            world.blocks.last_mut().expect("a block").nonce += 2;
            world.start(None);
            world.next.push(Next::Create(terms(1, 1)));
            world.run(2);
            world.apply(Event::QuarantineLifted);
            world.run(6);
            world
        },
        judge: |machine| {
            assert_eq!(machine.account().quarantine(), None);
            assert_eq!(finals(machine), 2);
        },
    },
    Life {
        name: "reported",
        what: "A client reports what it ran itself.",
        live: || {
            let mut world = World::new(world_config(false));
            for status in [ReportedStatus::Running, ReportedStatus::Success] {
                let at = world.now();
                world.apply(Event::JobReported {
                    job: JobId([9; 16]),
                    client: ClientId([1; 16]),
                    at,
                    status,
                    containers: vec!["alpha".into()],
                    result: (status == ReportedStatus::Success).then(|| payload("result", 9)),
                });
                world.wait(10);
            }
            world
        },
        judge: |machine| {
            let job = machine.job(JobId([9; 16])).expect("kept");
            assert_eq!(job.stage, Stage::Succeeded);
            assert_eq!(job.results.len(), 1);
        },
    },
];

fn finals(machine: &Machine) -> usize {
    machine
        .deliveries()
        .iter()
        .filter(|(_, delivery)| delivery.state == State::Final)
        .count()
}

fn posted(machine: &Machine, role: Role) -> Balance {
    machine.ledger().totals(role, NATIVE).posted()
}

/// A log as it is committed, and the machine that its replay leads to.
fn text(what: &str, log: &[(u16, u8, Vec<u8>)]) -> (String, Machine) {
    let mut machine = Machine::new();
    let mut text = format!("# {what}\n# kind.version body, then the effects so far\n");
    for (kind, version, body) in log {
        let event = codec::decode(*kind, *version, body).expect("an event");
        machine.apply(&event).expect("no halt");
        let effects = machine.effects_digest().to_string();
        writeln!(
            text,
            "event {kind}.{version} {} {}",
            hex(body),
            &effects[2..18]
        )
        .expect("grows");
    }
    writeln!(text, "effects {}", machine.effects_digest()).expect("grows");
    writeln!(text, "state {}", machine.digest()).expect("grows");
    for no in (1..).map(JobNo) {
        let Some(job) = machine.job_by_no(no) else {
            break;
        };
        writeln!(text, "job {no} {:?}", job.stage).expect("grows");
    }
    for (no, delivery) in machine.deliveries().iter() {
        writeln!(text, "delivery {no} {:?}", delivery.state).expect("grows");
    }
    for (account, totals) in machine.ledger().accounts() {
        writeln!(text, "account {:?} {}", account.role, totals.posted()).expect("grows");
    }
    (text, machine)
}

fn parse(text: &str) -> Vec<(u16, u8, Vec<u8>)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("event "))
        .map(|line| {
            let mut words = line.split(' ');
            let (kind, version) = words
                .next()
                .and_then(|word| word.split_once('.'))
                .expect("kind and version");
            let body = unhex(words.next().expect("a body"));
            (
                kind.parse().expect("a kind"),
                version.parse().expect("a version"),
                body,
            )
        })
        .collect()
}

/// The lives as committed, and the machines that they lead to.
pub(crate) fn lives() -> impl Iterator<Item = (&'static str, Machine)> {
    LIVES.iter().map(|life| {
        let committed = std::fs::read_to_string(golden::place(&format!("logs/{}.log", life.name)));
        let (_, machine) = text(life.what, &parse(&committed.expect("committed")));
        (life.name, machine)
    })
}

#[test]
fn golden_logs_lead_to_the_committed_digests() {
    for life in LIVES {
        let name = format!("logs/{}.log", life.name);
        // A committed log is the truth; it is lived anew only where there is none.
        let log = match std::fs::read_to_string(golden::place(&name)) {
            Ok(committed) => parse(&committed),
            Err(_) if golden::blessing() => (life.live)()
                .log
                .iter()
                .map(|event| {
                    let encoded = codec::encode(event).expect("small");
                    (encoded.kind, encoded.version, encoded.body)
                })
                .collect(),
            Err(error) => panic!("{name}: {error}; INFERNET_BLESS=1 writes it"),
        };
        let (now, machine) = text(life.what, &log);
        (life.judge)(&machine);
        assert!(machine.ledger().balances(), "{name}");
        golden::hold(&name, now.as_bytes());
    }
}

#[test]
fn golden_logs_hold_every_kind_that_a_life_brings() {
    let mut kinds = BTreeMap::new();
    for life in LIVES {
        let name = format!("logs/{}.log", life.name);
        let committed = std::fs::read_to_string(golden::place(&name)).expect("committed");
        for (kind, ..) in parse(&committed) {
            *kinds.entry(kind).or_insert(0) += 1;
        }
    }
    for (kind, ..) in codec::encodings() {
        assert!(kinds.contains_key(&kind), "kind {kind}: {kinds:?}");
    }
}

/// What a start of this program makes of a log that an older one left: it brings the logic up
/// once, and the past stays what it was.
#[test]
fn an_old_log_is_upgraded_once_and_replays_the_same() {
    for name in LIVES.iter().map(|life| life.name) {
        let committed = std::fs::read_to_string(golden::place(&format!("logs/{name}.log")));
        let mut log = parse(&committed.expect("committed"));
        let (past, mut machine) = text("", &log);
        let before = machine.effects_digest();
        let began_at = machine.logic();
        while let Some(event) = machine.upgrade() {
            assert_eq!(event, Event::Upgraded { to: LOGIC });
            assert!(machine.logic() < LOGIC, "{name}");
            let encoded = codec::encode(&event).expect("small");
            log.push((encoded.kind, encoded.version, encoded.body));
            assert_eq!(machine.apply(&event), Ok(Vec::new()));
        }
        assert_eq!(machine.logic(), LOGIC);
        assert_eq!(machine.effects_digest(), before, "{name}");
        let (now, again) = text("", &log);
        assert_eq!(again, machine, "{name}");
        let events = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with("event "));
            lines.map(str::to_owned).collect()
        };
        let (past, now) = (events(&past), events(&now));
        assert_eq!(now[..past.len()], past, "{name}");
        assert_eq!(now.len() - past.len(), usize::from(began_at < LOGIC));
    }
}

/// An older program on the log, or on a snapshot, of a newer one: it stops at once.
#[test]
fn a_newer_logic_is_refused() {
    let (_, mut machine) = lives().next().expect("a life");
    for to in [LOGIC + 1, u16::MAX] {
        let halt = machine.clone().apply(&Event::Upgraded { to });
        let halt = halt.expect_err("unknown");
        assert!(halt.is_newer());
        assert_eq!(halt.seq.0, machine.seq().0 + 1);
        let said = halt.to_string();
        assert!(said.starts_with("E-STATE-002: at event "), "{said}");
        assert!(said.contains("use that version"), "{said}");
    }
    // An older one is no way back.
    for to in [LOGIC, 0] {
        machine.apply(&Event::Upgraded { to }).expect("known");
        assert_eq!(machine.logic(), LOGIC);
    }

    let mut fresh = Machine::new();
    let upgraded = fresh.upgrade().expect("a new log");
    fresh.apply(&upgraded).expect("known");
    let bytes = fresh.snapshot().expect("encodes");
    assert_eq!(Machine::restore(&bytes).as_ref(), Ok(&fresh));
    // Behind the head: the sequence, the time, the logic; each a byte.
    let at = 15 + env!("CARGO_PKG_VERSION").len() + 2;
    let mut newer = bytes.clone();
    assert_eq!(u16::from(newer[at]), LOGIC);
    newer[at] += 1;
    match Machine::restore(&newer) {
        Err(SnapshotError::Newer { logic, program }) => {
            assert_eq!(logic, LOGIC + 1);
            assert_eq!(program, env!("CARGO_PKG_VERSION"));
        }
        restored => panic!("{restored:?}"),
    }
}
