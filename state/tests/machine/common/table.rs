//! Every life cycle as a table: each state with each step. The lists of states and steps are
//! complete because the compiler says so.

use std::fmt::Debug;

use infernet_state::{
    account::{self, Quarantine},
    admission::Reason,
    breaker::{self, Breaker},
    chore,
    delegation::{self, Delegation},
    delivery::{Loss, Move, State},
    job::{self, Cause, Stage},
    ledger::{EntryState, Settlement},
    outbox::{self, Flight},
    proof::{self, ProofState, Verdict},
    subscription::{self, Standing},
    trace::Transition,
    transaction::{self, Phase},
    trial::Thing,
    types::{Nonce, SubscriptionId, WallTime},
};

use super::setup::{effect_id, hash};

/// One line: a state, a step, and what follows (`None` where the step does not apply).
pub(crate) struct Row {
    pub(crate) from: String,
    pub(crate) step: String,
    pub(crate) to: Option<String>,
}

/// A life cycle.
pub(crate) struct Cycle {
    pub(crate) name: &'static str,
    pub(crate) rows: Vec<Row>,
}

impl Cycle {
    /// As it is committed.
    pub(crate) fn text(&self) -> String {
        let width = |of: fn(&Row) -> &String| self.rows.iter().map(|row| of(row).len()).max();
        let (from, step) = (
            width(|row| &row.from).unwrap_or(0),
            width(|row| &row.step).unwrap_or(0),
        );
        let mut text = format!(
            "# {}: state + step = next state, - where it does not apply\n",
            self.name
        );
        for row in &self.rows {
            let to = row.to.as_deref().unwrap_or("-");
            text.push_str(&format!("{:from$} + {:step$} = {to}\n", row.from, row.step));
        }
        text
    }
}

fn cycle<S: Copy + Debug, T: Copy + Debug, N: Debug>(
    name: &'static str,
    states: &[S],
    steps: &[T],
    step: impl Fn(S, T) -> Option<N>,
) -> Cycle {
    let mut rows = Vec::new();
    for from in states {
        for with in steps {
            rows.push(Row {
                from: short(from),
                step: short(with),
                to: step(*from, *with).map(|to| short(&to)),
            });
        }
    }
    Cycle { name, rows }
}

/// What matters of a state or step in words: `Sent(Nonce(3))` is `Sent`.
fn short(thing: &impl Debug) -> String {
    let text = format!("{thing:?}");
    let text = text.strip_prefix("Some(").unwrap_or(&text);
    if let Some(verdict) = text.strip_prefix("Judge(Verdict ") {
        return verdict
            .replace("{ ", "Judge{")
            .replace(" })", "}")
            .replace(' ', "");
    }
    if let Some(breaker) = text.strip_prefix("Breaker ") {
        let open = if breaker.contains("open_until: None") {
            "Closed"
        } else {
            "Open"
        };
        return open.into();
    }
    if text.starts_with("SubscriptionId") {
        return "Known".into();
    }
    let end = text.find([' ', '(', '{']).unwrap_or(text.len());
    text[..end].trim_end_matches(')').into()
}

/// Every life cycle.
pub(crate) fn cycles() -> Vec<Cycle> {
    vec![
        subscriptions(),
        delegations(),
        jobs(),
        deliveries(),
        transactions(),
        chores(),
        proofs(),
        breakers(),
        effects(),
        accounts(),
        entries(),
    ]
}

fn subscription_steps() -> Vec<subscription::Step> {
    use subscription::Step;
    all!(Step;
        Step::Admit => Step::Admit,
        Step::Refuse(_) => Step::Refuse(Reason::NoProof),
        Step::Cancel => Step::Cancel,
        Step::Complete => Step::Complete,
        Step::Reopen => Step::Reopen,
        Step::Restore(_) => Step::Restore(Standing::Admitted),
    )
    .into()
}

fn subscriptions() -> Cycle {
    let states = all!(Standing;
        Standing::Admitted => Standing::Admitted,
        Standing::Refused(_) => Standing::Refused(Reason::NoProof),
        Standing::Cancelled => Standing::Cancelled,
        Standing::Completed => Standing::Completed,
    );
    cycle(
        "subscription",
        &states,
        &subscription_steps(),
        Standing::step,
    )
}

fn delegation_steps() -> Vec<delegation::Step> {
    use delegation::Step;
    let id = SubscriptionId(7);
    all!(Step; Step::Alias(_) => Step::Alias(id), Step::Undo => Step::Undo).into()
}

fn delegations() -> Cycle {
    let id = SubscriptionId(7);
    let states = all!(Option<SubscriptionId>; None => None, Some(_) => Some(id));
    cycle("delegation", &states, &delegation_steps(), Delegation::step)
}

fn job_steps() -> Vec<job::Step> {
    use job::Step;
    all!(Step;
        Step::BeginPaid => Step::BeginPaid,
        Step::BeginFree => Step::BeginFree,
        Step::PayerRead => Step::PayerRead,
        Step::PayerReadDelegated => Step::PayerReadDelegated,
        Step::InputsRead => Step::InputsRead,
        Step::Answered => Step::Answered,
        Step::AnsweredClient => Step::AnsweredClient,
        Step::AnsweredInterval => Step::AnsweredInterval,
        Step::Included => Step::Included,
        Step::Undone => Step::Undone,
        Step::Finalized => Step::Finalized,
        Step::Fail(_) => Step::Fail(Cause::Expired),
    )
    .into()
}

fn jobs() -> Cycle {
    let states = all!(Stage;
        Stage::Waiting => Stage::Waiting,
        Stage::ReadingPayer => Stage::ReadingPayer,
        Stage::ReadingInputs => Stage::ReadingInputs,
        Stage::Running { .. } => Stage::Running { position: 0 },
        Stage::Delivering => Stage::Delivering,
        Stage::Included => Stage::Included,
        Stage::Succeeded => Stage::Succeeded,
        Stage::Failed(_) => Stage::Failed(Cause::Expired),
    );
    cycle("job", &states, &job_steps(), Stage::step)
}

fn delivery_steps() -> Vec<Move> {
    let nonce = Nonce(7);
    all!(Move;
        Move::Simulate => Move::Simulate,
        Move::Wait => Move::Wait,
        Move::Queue => Move::Queue,
        Move::Send(_) => Move::Send(nonce),
        Move::Include(_) => Move::Include(nonce),
        Move::Undo(_) => Move::Undo(nonce),
        Move::Finalize => Move::Finalize,
        Move::Park => Move::Park,
        Move::Abandon(_) => Move::Abandon(Loss::Met),
        Move::Withdraw(_) => Move::Withdraw(Loss::Met),
    )
    .into()
}

fn deliveries() -> Cycle {
    let nonce = Nonce(7);
    let states = all!(State;
        State::Planned => State::Planned,
        State::Simulating => State::Simulating,
        State::Ready => State::Ready,
        State::Sent(_) => State::Sent(nonce),
        State::Included(_) => State::Included(nonce),
        State::Final => State::Final,
        State::Parked => State::Parked,
        State::Abandoned(_) => State::Abandoned(Loss::Met),
        State::Withdrawn(_) => State::Withdrawn(Loss::Met),
    );
    cycle("delivery", &states, &delivery_steps(), State::step)
}

fn transaction_steps() -> Vec<transaction::Step> {
    use transaction::Step;
    let id = effect_id(1, 0);
    let (height, tx, succeeded) = (3, hash("tx", 1), true);
    all!(Step;
        Step::Sign(_) => Step::Sign(id),
        Step::Send(_) => Step::Send(id),
        Step::Look(_) => Step::Look(id),
        Step::Recheck(_) => Step::Recheck(id),
        Step::Rest => Step::Rest,
        Step::Include { .. } => Step::Include { height, tx, succeeded },
        Step::Undo => Step::Undo,
    )
    .into()
}

fn transactions() -> Cycle {
    let id = effect_id(1, 0);
    let (height, tx, succeeded) = (3, hash("tx", 1), true);
    let states = all!(Phase;
        Phase::Signing(_) => Phase::Signing(id),
        Phase::Sending(_) => Phase::Sending(id),
        Phase::Pooled => Phase::Pooled,
        Phase::Looking(_) => Phase::Looking(id),
        Phase::Rechecking(_) => Phase::Rechecking(id),
        Phase::Included { .. } => Phase::Included { height, tx, succeeded },
    );
    cycle("transaction", &states, &transaction_steps(), Phase::step)
}

fn chore_steps() -> Vec<chore::Step> {
    use chore::Step;
    let (id, nonce, at) = (effect_id(1, 0), Nonce(7), WallTime(9));
    all!(Step;
        Step::Quote(_) => Step::Quote(id),
        Step::Send(_) => Step::Send(nonce),
        Step::BackOff(_) => Step::BackOff(at),
        Step::Return(_) => Step::Return(nonce),
        Step::End => Step::End,
    )
    .into()
}

fn chores() -> Cycle {
    use chore::Stage;
    let (id, nonce, at) = (effect_id(1, 0), Nonce(7), WallTime(9));
    let states = all!(Option<Stage>;
        None => None,
        Some(Stage::Quoting(_)) => Some(Stage::Quoting(id)),
        Some(Stage::Sent(_)) => Some(Stage::Sent(nonce)),
        Some(Stage::BackingOff(_)) => Some(Stage::BackingOff(at)),
    );
    cycle("chore", &states, &chore_steps(), Stage::step)
}

fn proof_steps() -> Vec<proof::Step> {
    use proof::Step;
    let judge = |active, valid| Step::Judge(Verdict { active, valid });
    all!(Step;
        Step::Judge(Verdict { active: true, valid: true }) => judge(true, true),
        Step::Judge(Verdict { active: true, valid: false }) => judge(true, false),
        Step::Judge(Verdict { active: false, valid: true }) => judge(false, true),
        Step::Judge(Verdict { active: false, valid: false }) => judge(false, false),
        Step::Undo => Step::Undo,
    )
    .into()
}

fn proofs() -> Cycle {
    let states = all!(ProofState;
        ProofState::Open => ProofState::Open,
        ProofState::Paid => ProofState::Paid,
        ProofState::Slashed => ProofState::Slashed,
        ProofState::Expired => ProofState::Expired,
    );
    cycle("proof", &states, &proof_steps(), ProofState::step)
}

fn breaker_steps() -> Vec<breaker::Step> {
    use breaker::Step;
    // The last loss of a row and one before it are the same step; the limit tells them apart.
    all!(Step;
        Step::Lose { .. } => Step::Lose { limit: 1, until: WallTime(9) },
        Step::Succeed => Step::Succeed,
        Step::Close => Step::Close,
    )
    .into()
}

fn breakers() -> Cycle {
    let states = [
        Breaker {
            losses: 0,
            open_until: None,
        },
        Breaker {
            losses: 2,
            open_until: Some(WallTime(9)),
        },
    ];
    cycle("breaker", &states, &breaker_steps(), Breaker::step)
}

fn effect_steps() -> Vec<outbox::Step> {
    use outbox::Step;
    let at = WallTime(9);
    all!(Step;
        Step::Issue => Step::Issue,
        Step::Hold => Step::Hold,
        Step::Release => Step::Release,
        Step::BackOff(_) => Step::BackOff(at),
        Step::Retry => Step::Retry,
        Step::Restart => Step::Restart,
        Step::End => Step::End,
    )
    .into()
}

fn effects() -> Cycle {
    let at = WallTime(9);
    let states = all!(Option<Flight>;
        None => None,
        Some(Flight::InFlight) => Some(Flight::InFlight),
        Some(Flight::Held) => Some(Flight::Held),
        Some(Flight::BackingOff(_)) => Some(Flight::BackingOff(at)),
    );
    cycle("effect", &states, &effect_steps(), Flight::step)
}

fn entry_steps() -> Vec<Settlement> {
    all!(Settlement;
        Settlement::Post => Settlement::Post,
        Settlement::Void => Settlement::Void,
    )
    .into()
}

fn entries() -> Cycle {
    let states = all!(EntryState;
        EntryState::Pending => EntryState::Pending,
        EntryState::Posted => EntryState::Posted,
        EntryState::Voided => EntryState::Voided,
    );
    cycle("entry", &states, &entry_steps(), EntryState::step)
}

fn account_steps() -> Vec<account::Step> {
    use account::Step;
    all!(Step;
        Step::Start => Step::Start,
        Step::Agree => Step::Agree,
        Step::Differ(_) => Step::Differ(AHEAD),
        Step::Lift => Step::Lift,
    )
    .into()
}

fn accounts() -> Cycle {
    use account::Standing;
    let states = all!(Standing;
        Standing::Unobserved => Standing::Unobserved,
        Standing::Suspended(_) => Standing::Suspended(AHEAD),
        Standing::Sending => Standing::Sending,
        Standing::Quarantined(_) => Standing::Quarantined(AHEAD),
    );
    cycle("account", &states, &account_steps(), Standing::step)
}

const AHEAD: Quarantine = Quarantine::ChainAhead {
    known: Nonce(7),
    observed: Nonce(9),
};

/// The steps that do not apply to a thing as it stands.
pub(crate) fn refused(thing: Thing) -> Vec<Transition> {
    /// Those of `steps` that lead nowhere, as transitions.
    fn none<S: Copy, N>(
        steps: Vec<S>,
        lead: impl Fn(S) -> Option<N>,
        transition: impl Fn(S) -> Transition,
    ) -> Vec<Transition> {
        let refused = steps.into_iter().filter(|step| lead(*step).is_none());
        refused.map(transition).collect()
    }
    use Transition as T;
    match thing {
        Thing::Subscription(id, to) => none(
            subscription_steps(),
            |step| to.step(step),
            |step| T::Subscription {
                id,
                from: to,
                step,
                to,
            },
        ),
        Thing::Delegation(key, to) => none(
            delegation_steps(),
            |step| Delegation::step(to, step),
            |step| T::Delegation {
                key,
                from: to,
                step,
                to,
            },
        ),
        Thing::Job(no, to) => none(
            job_steps(),
            |step| to.step(step),
            |step| T::Job {
                no,
                from: to,
                step,
                to,
            },
        ),
        Thing::Delivery(no, to) => none(
            delivery_steps(),
            |step| to.step(step),
            |step| T::Delivery {
                no,
                from: to,
                step,
                to,
            },
        ),
        Thing::Transaction(nonce, to) => none(
            transaction_steps(),
            |step| to.step(step),
            |step| T::Transaction {
                nonce,
                from: to,
                step,
                to,
            },
        ),
        Thing::Chore(chore, to) => none(
            chore_steps(),
            |step| chore::Stage::step(to, step),
            |step| T::Chore {
                chore,
                from: to,
                step,
                to,
            },
        ),
        Thing::Proof(id, interval, to) => none(
            proof_steps(),
            |step| to.step(step),
            |step| T::Proof {
                id,
                interval,
                from: to,
                step,
                to,
            },
        ),
        Thing::Breaker(to) => none(
            breaker_steps(),
            |step| to.step(step),
            |step| T::Breaker { from: to, step, to },
        ),
        Thing::Effect(id, to) => none(
            effect_steps(),
            |step| Flight::step(to, step),
            |step| T::Effect {
                id,
                from: to,
                step,
                to,
            },
        ),
        Thing::Account(to) => none(
            account_steps(),
            |step| to.step(step),
            |step| T::Account { from: to, step, to },
        ),
        Thing::Entry(no, to) => none(
            entry_steps(),
            |step| to.step(step),
            |step| T::Entry {
                no,
                from: to,
                step,
                to,
            },
        ),
    }
}

/// The cycle, state and step of a transition, in the words of the tables.
pub(crate) fn key(transition: &Transition) -> (&'static str, String, String) {
    match transition {
        Transition::Subscription { from, step, .. } => ("subscription", short(from), short(step)),
        Transition::Delegation { from, step, .. } => ("delegation", short(from), short(step)),
        Transition::Job { from, step, .. } => ("job", short(from), short(step)),
        Transition::Delivery { from, step, .. } => ("delivery", short(from), short(step)),
        Transition::Transaction { from, step, .. } => ("transaction", short(from), short(step)),
        Transition::Chore { from, step, .. } => ("chore", short(from), short(step)),
        Transition::Proof { from, step, .. } => ("proof", short(from), short(step)),
        Transition::Breaker { from, step, .. } => ("breaker", short(from), short(step)),
        Transition::Effect { from, step, .. } => ("effect", short(from), short(step)),
        Transition::Account { from, step, .. } => ("account", short(from), short(step)),
        Transition::Entry { from, step, .. } => ("entry", short(from), short(step)),
    }
}
