//! The story of one job, subscription or transaction: every event that touched it, what changed
//! with it, and why each effect was issued.
//!
//! The past is replayed twice: what belongs to the subject is found first (a transaction is
//! simulated before its hash is known), then told.

use std::{collections::BTreeMap, ops::ControlFlow};

use infernet_state::{
    Effect, Event, Issued, Machine,
    effect::Action,
    event::ChainFact,
    inspect::Waiting,
    types::{EffectId, EntryNo, Seq},
};

use super::{
    AuditError,
    past::{Moment, Past, Replay, Step},
    subject::Subject,
    trace::Trace,
};
use crate::words::{self, Money};

/// Tells the story of a subject up to an event, or to the end, a line at a time.
///
/// # Errors
/// [`AuditError::Untouched`] when no event has anything to do with it; [`AuditError`].
pub fn explain(
    past: &Past,
    subject: Subject,
    to: Option<Seq>,
    mut tell: impl FnMut(String),
) -> Result<(), AuditError> {
    let mut trace = Trace::of(subject);
    past.replay(to, |moment| {
        match moment {
            Moment::Begun(replay) => trace.begin(&replay.machine),
            Moment::Passed(step) => trace.grow(step.machine, step.effects),
        }
        ControlFlow::Continue(())
    })?;
    let mut story = Story::of(trace);
    tell(format!("{subject}{}", story.members()));
    let replay = past.replay(to, |moment| {
        match moment {
            Moment::Begun(replay) => story.begin(replay).into_iter().for_each(&mut tell),
            Moment::Passed(step) => story.step(&step).into_iter().for_each(&mut tell),
        }
        ControlFlow::Continue(())
    })?;
    if story.told == 0 && story.known.is_empty() {
        return Err(AuditError::Untouched {
            subject: subject.to_string(),
            first: Seq(replay.base.seq.0 + 1),
            last: replay.head.seq,
        });
    }
    tell(format!(
        "{} of the events {}-{} have to do with it",
        story.told,
        replay.base.seq.0 + 1,
        replay.head.seq
    ));
    Ok(())
}

/// What has words of its own in a story.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Subscription(u32),
    Job(u64),
    Delivery(u64),
    Nonce(u64),
    Entry(EntryNo),
}

/// A story as it is told.
struct Story {
    trace: Trace,
    /// The present words of each thing.
    known: BTreeMap<Thing, String>,
    /// The present attempts of the effects under way.
    attempts: BTreeMap<EffectId, u16>,
    /// Ledger entries up to here were looked at.
    entries: EntryNo,
    /// Events told of.
    told: u64,
}

impl Story {
    fn of(trace: Trace) -> Self {
        Self {
            trace,
            known: BTreeMap::new(),
            attempts: BTreeMap::new(),
            entries: EntryNo(0),
            told: 0,
        }
    }

    /// What belongs to the subject, for the first line.
    fn members(&self) -> String {
        let trace = &self.trace;
        let list = |name: &str, items: Vec<String>| match items.len() {
            0 => None,
            1 => Some(format!("{name} {}", items[0])),
            2..=8 => Some(format!("{name}s {}", items.join(", "))),
            more => Some(format!("{more} {name}s")),
        };
        let parts = [
            list("job", trace.jobs.iter().map(ToString::to_string).collect()),
            list(
                "delivery",
                trace.deliveries.iter().map(ToString::to_string).collect(),
            ),
            list(
                "nonce",
                trace.nonces.iter().map(ToString::to_string).collect(),
            ),
            list(
                "transaction",
                trace.transactions.iter().map(ToString::to_string).collect(),
            ),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match parts.is_empty() {
            true => String::new(),
            false => format!(": {}", parts.join("; ")).replace("deliverys", "deliveries"),
        }
    }

    /// Looks at the state for the first time; says what is there, if events before it are gone.
    fn begin(&mut self, replay: &Replay) -> Vec<String> {
        self.known = self.words(&replay.machine);
        self.entries = replay.machine.ledger().last();
        self.attempts = self.attempts_of(&replay.machine);
        if replay.base.seq == Seq(0) {
            return Vec::new();
        }
        let kept = format!(
            "        the events up to {} are no longer kept; where they left off:",
            replay.base.seq
        );
        let known = self.known.values().map(|words| format!("        {words}"));
        std::iter::once(kept).chain(known).collect()
    }

    /// The lines of an event; none when it has nothing to do with the subject.
    fn step(&mut self, step: &Step<'_>) -> Vec<String> {
        self.trace.grow(step.machine, step.effects);
        let facts = self.facts(step.event);
        let named = self.named(step.event) || !facts.is_empty();
        let mut lines = self.changes(step.machine);
        lines.extend(self.effects(step));
        if lines.is_empty() && !named {
            return Vec::new();
        }
        self.told += 1;
        let head = match step.event {
            // Of a block only what concerns the subject.
            Event::ChainCommitted { block, .. } => format!(
                "block {} joined the chain, {}",
                block.number,
                words::utc(block.time.0)
            ),
            event => event.to_string(),
        };
        let mut told = vec![format!("{:>6}  {head}", step.stored.seq)];
        told.extend(facts.into_iter().map(|fact| format!("        {fact}")));
        told.append(&mut lines);
        told
    }

    /// The facts of a block, or the entries of a sync, that concern the subject.
    fn facts(&self, event: &Event) -> Vec<String> {
        let trace = &self.trace;
        match event {
            Event::ChainCommitted { facts, .. } => facts
                .iter()
                .filter(|fact| match fact {
                    ChainFact::SubscriptionCreated { id, .. }
                    | ChainFact::SubscriptionCancelled { id }
                    | ChainFact::SubscriptionFulfilled { id, .. }
                    | ChainFact::ProofVerified { id, .. } => trace.subscriptions.contains(id),
                    ChainFact::TransactionIncluded(receipt) => {
                        trace.transactions.contains(&receipt.tx)
                    }
                    ChainFact::ForeignNonceUsed { nonce } => trace.nonces.contains(nonce),
                    ChainFact::Wallet(fact) => trace.transactions.contains(&fact.tx),
                })
                .map(ToString::to_string)
                .collect(),
            Event::SubscriptionsSynced { subscriptions, .. } => subscriptions
                .iter()
                .filter(|entry| trace.subscriptions.contains(&entry.id))
                .map(|entry| {
                    format!(
                        "subscription {} of {} was there, with {} responses in its interval",
                        entry.id, entry.subscription.owner, entry.responses
                    )
                })
                .collect(),
            Event::NodeStarted { .. }
            | Event::ConfigChanged(_)
            | Event::Upgraded { .. }
            | Event::WallTimePassed { .. }
            | Event::AccountObserved { .. }
            | Event::QuarantineLifted
            | Event::HeadObserved { .. }
            | Event::ChainReorged { .. }
            | Event::ChainFinalized { .. }
            | Event::JobAccepted(_)
            | Event::DelegatedAccepted(_)
            | Event::JobReported { .. }
            | Event::JobCancelled { .. }
            | Event::EffectEnded { .. } => Vec::new(),
        }
    }

    /// Whether an event names the subject.
    fn named(&self, event: &Event) -> bool {
        let trace = &self.trace;
        match event {
            Event::JobAccepted(request) => trace.ids.contains(&request.job),
            Event::JobReported { job, .. } | Event::JobCancelled { job, .. } => {
                trace.ids.contains(job)
            }
            Event::DelegatedAccepted(request) => {
                let key = (request.subscription.owner, request.nonce);
                trace.delegations.contains(&key)
            }
            Event::EffectEnded { effect, .. } => trace.effects.contains(effect),
            Event::NodeStarted { .. }
            | Event::ConfigChanged(_)
            | Event::Upgraded { .. }
            | Event::WallTimePassed { .. }
            | Event::AccountObserved { .. }
            | Event::QuarantineLifted
            | Event::ChainCommitted { .. }
            | Event::HeadObserved { .. }
            | Event::ChainReorged { .. }
            | Event::ChainFinalized { .. }
            | Event::SubscriptionsSynced { .. } => false,
        }
    }

    /// What of the subject stands otherwise than before.
    fn changes(&mut self, machine: &Machine) -> Vec<String> {
        let now = self.words(machine);
        let mut lines = Vec::new();
        for (thing, words) in &now {
            if self.known.get(thing) != Some(words) {
                lines.push(format!("        {words}"));
            }
        }
        // An entry that is settled long ago is forgotten: that is no news.
        for (thing, words) in &self.known {
            let gone = !now.contains_key(thing) && !matches!(thing, Thing::Entry(_));
            if gone {
                let name = words.split(": ").next().unwrap_or(words);
                lines.push(format!("        {name}: closed, no longer kept"));
            }
        }
        self.known = now;
        self.entries = machine.ledger().last();
        lines
    }

    /// The present words of everything that belongs to the subject.
    fn words(&self, machine: &Machine) -> BTreeMap<Thing, String> {
        let trace = &self.trace;
        let mut all = BTreeMap::new();
        for id in &trace.subscriptions {
            if let Some(tracked) = machine.subscriptions().get(*id) {
                let mut words = format!("subscription {id}: {}", words::standing(tracked.standing));
                if let Some(due) = words::due(tracked.due) {
                    words.push_str(&format!("; looked at next {due}"));
                }
                all.insert(Thing::Subscription(id.0), words);
            }
        }
        for no in &trace.jobs {
            if let Some(job) = machine.job_by_no(*no) {
                let words = format!("{}: {}", words::job_name(*no, job), words::stage(job));
                all.insert(Thing::Job(no.0), words);
            }
        }
        for no in &trace.deliveries {
            if let Some(delivery) = machine.deliveries().get(*no) {
                let words = format!("delivery {no}: {}", words::delivery_state(delivery));
                all.insert(Thing::Delivery(no.0), words);
            }
        }
        for (nonce, slot) in machine.account().slots() {
            if trace.nonces.contains(&nonce) {
                let words = format!(
                    "nonce {nonce}: {}, for {}",
                    words::phase(slot),
                    words::used_for(&slot.wanted)
                );
                all.insert(Thing::Nonce(nonce.0), words);
            }
        }
        let ledger = machine.ledger();
        let told = self.known.keys().filter_map(|thing| match thing {
            Thing::Entry(no) => Some((*no, ledger.entry(*no)?)),
            Thing::Subscription(_) | Thing::Job(_) | Thing::Delivery(_) | Thing::Nonce(_) => None,
        });
        for (no, entry) in told.chain(ledger.entries_after(self.entries)) {
            if trace.transactions.contains(&entry.tx) {
                let words = format!(
                    "entry {no}: {}, {}, {} ← {}, {}",
                    words::code(entry.code),
                    Money(&entry.amount, &entry.debit.token),
                    words::account(&entry.debit),
                    words::account(&entry.credit),
                    words::entry_state(entry.state)
                );
                all.insert(Thing::Entry(no), words);
            }
        }
        all
    }

    /// The effects that the event issued, or issued again, each with its reason.
    fn effects(&mut self, step: &Step<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        for issued in step.effects {
            if self.trace.effects.contains(&issued.id) {
                lines.push(format!("        → {issued}"));
                lines.push(format!("          because {}", why(issued, step)));
            }
        }
        let now = self.attempts_of(step.machine);
        // After a restart nothing is issued, and everything under way is handed out again.
        if matches!(step.event, Event::NodeStarted { .. }) {
            for (id, attempt) in &now {
                if self.attempts.get(id).is_some_and(|before| before < attempt) {
                    lines.push(format!("        → {id} again (attempt {attempt})"));
                    lines.push(
                        "          because the node started anew and it had not ended".to_owned(),
                    );
                }
            }
        }
        self.attempts = now;
        lines
    }

    fn attempts_of(&self, machine: &Machine) -> BTreeMap<EffectId, u16> {
        let ours = self.trace.effects.iter();
        ours.filter_map(|id| Some((*id, machine.pending_effect(*id)?.attempt)))
            .collect()
    }
}

/// Why an effect was issued, in words that follow "because".
fn why(issued: &Issued, step: &Step<'_>) -> String {
    if issued.attempt > 1 {
        return if matches!(step.event, Event::AccountObserved { .. }) {
            "the account was read in this run: what was signed may leave again".into()
        } else {
            format!(
                "attempt {} came to nothing and another may help",
                issued.attempt - 1
            )
        };
    }
    let waiting = step
        .machine
        .pending_effect(issued.id)
        .map(|pending| pending.waiting);
    match &issued.effect {
        Effect::ReadPayer { .. } => {
            "it pays: before any work the wallet is asked whether it can".into()
        }
        Effect::ReadInputs { .. } => {
            "its interval is due: the consumer is asked what to compute on".into()
        }
        Effect::ReadResponses { .. } => {
            "the simulated call found the interval met: the chain is asked who answered".into()
        }
        Effect::RunContainer(call) => {
            match waiting.and_then(|waiting| position(waiting, step.machine)) {
                Some(0) | None => format!("the input of {} is there", call.container),
                Some(_) => format!("the container before {} answered", call.container),
            }
        }
        Effect::StopContainer { .. } => "nobody needs the answer of that call any more".into(),
        Effect::Simulate { .. } => match waiting {
            Some(Waiting::Transaction(nonce)) => {
                format!("the block of nonce {nonce} is gone: what is sent again must still hold")
            }
            Some(Waiting::Chore(_)) => "it is tried before it gets a nonce".into(),
            Some(Waiting::Job(_) | Waiting::Delivery(_)) | None => {
                "the answer is there: its delivery is tried against the head before it gets a nonce"
                    .into()
            }
        },
        Effect::Sign { nonce, action, .. } => {
            let signed = step
                .machine
                .account()
                .slots()
                .find(|(open, _)| open == nonce);
            let before = signed.map_or(0, |(_, slot)| slot.versions.len());
            match (action, before) {
                (Action::FillNonce, _) => format!(
                    "what nonce {nonce} was for is no longer wanted, and later nonces wait for it"
                ),
                (_, 0) => {
                    format!("the simulation succeeded and is worth its gas: it gets nonce {nonce}")
                }
                (_, _) => {
                    format!("no block took nonce {nonce} in time: the same nonce, a higher fee")
                }
            }
        }
        Effect::Broadcast { .. } => "its signed bytes are on disk: they may leave the node".into(),
        Effect::LookUpTransaction { nonce, .. } => {
            format!("nobody can tell from here what became of nonce {nonce}")
        }
    }
}

/// Which of its containers a job runs.
fn position(waiting: Waiting, machine: &Machine) -> Option<u16> {
    use infernet_state::job::Stage;

    let Waiting::Job(no) = waiting else {
        return None;
    };
    match machine.job_by_no(no)?.stage {
        Stage::Running { position } => Some(position),
        Stage::Waiting
        | Stage::ReadingPayer
        | Stage::ReadingInputs
        | Stage::Delivering
        | Stage::Included
        | Stage::Succeeded
        | Stage::Failed(_) => None,
    }
}
