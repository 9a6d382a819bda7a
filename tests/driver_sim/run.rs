//! One history: a world from a seed, crashes by a plan, and what must hold afterwards.

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    str::FromStr,
    sync::{Arc, Mutex},
};

use infernet_node::{
    driver::{self, Fatal},
    log::{EventLog as _, LogReader as _, MemoryLog, MemoryReader},
};
use infernet_state::{
    Event, Machine,
    event::{Outcome, Success},
    ledger::{Balance, Role, Sum},
    machine::JobStatus,
    types::{Address, Amount, Hash, JobId, Seq},
};

use super::{
    chain::{GAS_PRICE, GAS_USED, NODE_WALLET},
    node::{Node, Seen},
    outside::{ONCE, Outside, Shared, Temper},
    steps::{self, How},
    world::{SimWorld, is_crash, lock},
};

/// A second of the world.
const TICK_MS: u64 = 1_000;

/// No history takes this long in virtual time: 20 minutes.
const PATIENCE_MS: u64 = 20 * 60_000;

/// Crashes of a storm.
pub(crate) const STORM_CRASHES: u64 = 20;

/// What goes wrong in a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plan {
    /// Nothing.
    Calm,
    /// The step of this number, and again so many steps into the recovery.
    At { step: u64, how: How, again: u64 },
    /// [`STORM_CRASHES`], at steps by the seed, many of them during recovery.
    Storm,
}

/// A history, named so that it can be had again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.plan {
            Plan::Calm => write!(f, "{}:calm", self.seed),
            Plan::Storm => write!(f, "{}:storm", self.seed),
            Plan::At { step, how, again } => {
                let how = if how == How::Crash { "crash" } else { "fail" };
                write!(f, "{}:{how}:{step}:{again}", self.seed)
            }
        }
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let number = |part: &str| part.parse::<u64>().map_err(|error| error.to_string());
        let plan = match parts.as_slice() {
            [_, "calm"] => Plan::Calm,
            [_, "storm"] => Plan::Storm,
            [_, how @ ("crash" | "fail"), step, again] => Plan::At {
                step: number(step)?,
                how: if *how == "crash" {
                    How::Crash
                } else {
                    How::Fail
                },
                again: number(again)?,
            },
            _ => return Err(format!("{text} is no case")),
        };
        Ok(Self {
            seed: number(parts[0])?,
            plan,
        })
    }
}

/// What a history came to.
pub(crate) struct Told {
    /// The steps it passed.
    pub(crate) steps: Vec<&'static str>,
    /// Times that its process ended.
    pub(crate) crashes: u64,
}

/// Plays a case, in a world of its seed.
///
/// # Panics
/// When a promise was broken.
pub(crate) fn play(case: Case) -> Told {
    let temper = match case.plan {
        Plan::Storm => Temper {
            reorgs: case.seed.is_multiple_of(3),
            recurring: case.seed % 4 == 1,
            requests: 4,
        },
        Plan::Calm | Plan::At { .. } => Temper {
            reorgs: false,
            recurring: false,
            requests: 3,
        },
    };
    let mut history = History::new(case, temper);
    history.run();
    history.judge();
    Told {
        steps: steps::names(),
        crashes: steps::happened(),
    }
}

struct History {
    case: Case,
    world: SimWorld,
    outside: Shared,
    log: MemoryReader,
    /// Bad steps still to come, behind the one that is armed.
    left: u64,
    next_tick: u64,
}

impl Drop for History {
    /// A history that is played alone shows its log when it breaks a promise.
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("INFERNET_SIM_CASE").is_some() {
            for seq in 1..=self.log.head().seq.0 {
                eprintln!("{seq:>6}  {}", self.event(seq));
            }
        }
    }
}

impl History {
    fn new(case: Case, temper: Temper) -> Self {
        steps::reset();
        let world = SimWorld::new(case.seed);
        let left = match case.plan {
            Plan::Calm => 0,
            Plan::At { step, how, .. } => {
                steps::arm(step, how);
                1
            }
            Plan::Storm => STORM_CRASHES,
        };
        Self {
            case,
            next_tick: world.now_ms() + TICK_MS,
            world,
            outside: Arc::new(Mutex::new(Outside::new(temper))),
            log: MemoryLog::new().reader(),
            left,
        }
    }

    /// Runs process after process until all is served.
    fn run(&mut self) {
        let begun = self.world.now_ms();
        loop {
            self.arm_next();
            let finished = self.one_process(begun);
            self.world.forget_process();
            lock(&self.outside).hang_up();
            if finished {
                return;
            }
            // It takes a while until somebody starts it again.
            let back = self.world.now_ms() + self.world.below(3_000);
            self.advance_to(back);
        }
    }

    fn arm_next(&mut self) {
        match self.case.plan {
            Plan::Storm if self.left > 0 => {
                self.left -= 1;
                // Every third one hits the recovery.
                let span = if self.world.chance(33) { 12 } else { 120 };
                let how = if self.world.chance(80) {
                    How::Crash
                } else {
                    How::Fail
                };
                steps::arm(self.world.below(span), how);
            }
            Plan::At { again, .. } if self.left > 0 && steps::happened() > 0 => {
                self.left -= 1;
                steps::arm(again, How::Crash);
            }
            Plan::Calm | Plan::At { .. } | Plan::Storm => {}
        }
    }

    /// One process from start to end; whether all is served.
    fn one_process(&mut self, begun: u64) -> bool {
        let started = catch_unwind(AssertUnwindSafe(|| {
            Node::start(&self.log, &self.world, &self.outside)
        }));
        let mut node = match started {
            Ok(Ok(node)) => node,
            Ok(Err(Fatal::Log(_))) => return false,
            Ok(Err(other)) => panic!("the log cannot be recovered: {other}"),
            Err(panic) if is_crash(&*panic) => return false,
            Err(panic) => resume_unwind(panic),
        };
        loop {
            match node.turn() {
                Seen::Alive => {}
                Seen::Gone => {
                    self.compare(&node);
                    return false;
                }
                Seen::Waiting => {
                    if self.is_served(&node) {
                        if !steps::is_armed() {
                            if self.left == 0 {
                                self.compare(&node);
                                return true;
                            }
                            // What failed did not end the process: the next one may.
                            self.arm_next();
                        }
                        lock(&self.outside).ask_for_more();
                    }
                    assert!(
                        self.world.now_ms() < begun + PATIENCE_MS,
                        "not served after 20 minutes: {}",
                        self.unserved(&node)
                    );
                    let timer = self.world.next_timer().unwrap_or(u64::MAX);
                    if self.next_tick <= timer {
                        self.advance_to(self.next_tick);
                        node.let_clients_ask();
                    } else {
                        self.world.advance(timer);
                    }
                }
            }
        }
    }

    fn advance_to(&mut self, at: u64) {
        while self.next_tick <= at {
            self.world.advance(self.next_tick);
            lock(&self.outside).tick(&self.world);
            self.next_tick += TICK_MS;
        }
        self.world.advance(at);
    }

    /// The state that a process had is the one its log leads to, where it had applied all of it.
    fn compare(&self, node: &Node) {
        let live = node
            .handle
            .view(|machine| (machine.seq(), machine.digest(), machine.effects_digest()));
        if live.0 != self.log.head().seq {
            return;
        }
        let machine = driver::replay(&self.log).expect("replays");
        let replayed = (machine.seq(), machine.digest(), machine.effects_digest());
        assert_eq!(live, replayed, "replay differs from what was lived");
    }

    fn is_served(&self, node: &Node) -> bool {
        let outside = lock(&self.outside);
        outside.chain.is_served(outside.requested)
            && outside.clients.iter().all(|client| {
                client.job.is_some_and(|job| {
                    let status = node.handle.view(|machine| machine.job_status(job));
                    matches!(
                        status,
                        Some(JobStatus::Success { .. } | JobStatus::Failed { .. })
                    )
                })
            })
            && node.handle.view(|machine| {
                machine.account().slots().count() == 0
                    && machine.chain().unfinalized_from().is_none()
            })
    }

    fn unserved(&self, node: &Node) -> String {
        let outside = lock(&self.outside);
        node.handle.view(|machine| {
            let jobs: Vec<_> = outside
                .clients
                .iter()
                .map(|client| client.job.map(|job| machine.job_status(job)))
                .collect();
            format!(
                "deliveries {:?}; jobs {jobs:?}; live {:?}; slots {:?}; quarantine {:?}; next {:?}",
                outside.chain.deliveries(),
                machine
                    .deliveries()
                    .iter()
                    .map(|(_, delivery)| (delivery.identity.id, delivery.state))
                    .collect::<Vec<_>>(),
                machine.account().slots().collect::<Vec<_>>(),
                machine.account().quarantine(),
                (machine.next_deadline(), machine.now()),
            )
        })
    }

    /// What must hold after every history.
    fn judge(&self) {
        let mut signed: BTreeMap<Hash, Seq> = BTreeMap::new();
        let mut ended: BTreeMap<JobId, JobStatus> = BTreeMap::new();
        let jobs: Vec<Option<JobId>> = lock(&self.outside)
            .clients
            .iter()
            .map(|client| client.job)
            .collect();
        let mut machine = Machine::new();
        // Each event by itself, so that the state behind it can be looked at.
        for seq in 1..=self.log.head().seq.0 {
            let event = self.event(seq);
            machine.apply(&event).expect("no halt");
            assert!(machine.ledger().balances(), "event {seq}: the ledger");
            assert_eq!(machine.account().quarantine(), None, "event {seq}");
            if let Event::EffectEnded {
                outcome: Outcome::Succeeded(Success::Signed { tx, .. }),
                ..
            } = &event
            {
                signed.entry(*tx).or_insert(Seq(seq));
            }
            for job in jobs.iter().flatten() {
                match machine.job_status(*job) {
                    None | Some(JobStatus::Running) => {
                        assert!(!ended.contains_key(job), "event {seq}: {job} runs again");
                    }
                    Some(status) => {
                        let first = ended.entry(*job).or_insert_with(|| status.clone());
                        assert_eq!(*first, status, "event {seq}: {job} has a second result");
                    }
                }
            }
        }
        self.judge_jobs(&jobs, &ended);
        self.judge_chain(&signed);
        self.judge_money(&machine);
    }

    fn event(&self, seq: u64) -> Event {
        let stored = self.log.read(Seq(seq), 1).expect("readable");
        let stored = &stored[0].event;
        infernet_state::codec::decode(stored.kind, stored.version, &stored.body).expect("decodes")
    }

    /// Each acknowledged job has its result, and what must not run twice did not.
    fn judge_jobs(&self, jobs: &[Option<JobId>], ended: &BTreeMap<JobId, JobStatus>) {
        let outside = lock(&self.outside);
        for (client, job) in outside.clients.iter().zip(jobs) {
            let job = job.expect("acknowledged");
            let delicate = client.containers.contains(&ONCE);
            match &ended[&job] {
                JobStatus::Success { output, .. } => {
                    // Payloads that nothing asks for were erased meanwhile; a client may ask.
                    let bytes = self.log.payload((*output).expect("a result"));
                    assert!(
                        bytes.expect("readable").is_some(),
                        "{job}: its result is gone"
                    );
                }
                JobStatus::Failed { .. } if delicate && steps::happened() > 0 => {}
                other => panic!("{job}: {other:?}"),
            }
        }
        for ((container, whom), count) in &outside.calls {
            assert!(
                container != ONCE || *count == 1,
                "{container} ran {count} times for {whom}"
            );
        }
    }

    /// Each interval was answered once, without a revert, and nothing left before it was durable.
    fn judge_chain(&self, signed: &BTreeMap<Hash, Seq>) {
        let outside = lock(&self.outside);
        for (whom, attempts) in outside.chain.deliveries() {
            let successful = attempts.iter().filter(|succeeded| **succeeded).count();
            assert_eq!(successful, 1, "subscription and interval {whom:?}");
            if !outside.temper.reorgs {
                assert_eq!(attempts.len(), 1, "{whom:?}: an attempt reverted");
            }
        }
        for tx in outside.chain.arrived.keys() {
            let durable = signed.get(tx).expect("what was sent is in the log");
            let head = outside.log_at_arrival[tx];
            assert!(durable.0 <= head, "{tx} was sent before event {durable}");
        }
    }

    /// The books agree with the chain's own events.
    fn judge_money(&self, machine: &Machine) {
        let outside = lock(&self.outside);
        let native = Address::ZERO;
        let ledger = machine.ledger();
        let paid = outside.chain.paid_to(NODE_WALLET);
        let posted = |role| ledger.totals(role, native).posted();
        assert_eq!(
            posted(Role::NodeWallet),
            Balance::Debit(paid.into()),
            "earned"
        );
        let nothing = Balance::Debit(Sum::ZERO);
        assert_eq!(posted(Role::Receivable), nothing, "nothing is owed");
        let sent = outside.chain.receipts().count() as u128;
        let gas = Amount::from(sent * u128::from(GAS_USED) * GAS_PRICE);
        assert_eq!(posted(Role::Gas), Balance::Debit(gas.into()), "gas");
    }
}
