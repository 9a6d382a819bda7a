//! Delegated subscriptions: signed by the subscriber, brought by a client, created on chain by
//! the first delivery (`docs/spec/contracts.md` 4).
//!
//! ```text
//!   accepted ─► Waiting ── its interval has begun ──► (the job runs; see `job`)
//!                  ▲                                     │    │ included: the chain gives it an id
//!                  │ its next interval, by another job   │    ▼
//!                  └──── failed, and nobody created it ──┘  aliased to that id: later intervals
//!                                                           are those of an ordinary subscription
//! ```
//! As long as nobody created it, its later intervals are attempted like the first: nobody else
//! would, and the client has its answer that it was accepted. Attempts that fail by what it asks
//! for are few, since nobody pays for them. Once somebody did, later intervals
//! than the one that the request came for are those of an ordinary subscription, with the chain's
//! inputs; a reorg that takes the creation away gives them back.
//! A request begins at a head that is as late as the block at which its signature was checked: the
//! recorded one may be hours old, and another interval ran then.
//! Until its id is known it is keyed (owner, nonce). The delivery binds to the signature and the
//! nonce, not to an id, so a reorg makes it no stranger's. An existing (owner, nonce) gets the
//! old id whatever the signature: if the record behind that id is another than the signed one,
//! nothing is delivered.

mod again;
mod back;
mod check;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    admission,
    chain::Undo,
    delivery::{Chance, Loss},
    effect::{Action, ContainerInput},
    event::{DelegatedRequest, Origin, Subscription},
    job::{self, Cause, Work},
    machine::{Halt, Machine},
    outbox::Turn,
    subscription::{self, CANCELLED_AT, record_hash},
    trace::Transition,
    tracking::may_begin_again,
    types::{
        Address, BlockRef, BlockTime, Hash, Interval, JobId, JobNo, PayloadAt, SubscriptionId,
    },
};

/// Who a delegated subscription is before the chain gives it an id.
pub type DelegationKey = (Address, u32);

/// A delegated subscription.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delegation {
    /// The request as accepted.
    pub request: DelegatedRequest,
    /// The job of the interval that is to create it: the first that could be answered.
    pub job: JobNo,
    /// Its id, once the chain has one.
    pub id: Option<SubscriptionId>,
    /// The interval that the request came for. Of later ones the chain has inputs of its own, once
    /// it has the subscription.
    pub(crate) first: Interval,
    /// Its attempts that failed by what it asks for.
    pub(crate) attempts: u8,
    /// Whether nothing begins it again: its client withdrew it, its id is final, or no interval
    /// or attempt is left for it.
    pub(crate) settled: bool,
}

/// What happens to a delegated subscription's id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The chain gave it one.
    Alias(SubscriptionId),
    /// The block that did is gone, or the subscription of that id is.
    Undo,
}

impl Delegation {
    /// The next id (`None` for none), or `None` where the step does not apply.
    #[must_use]
    pub fn step(from: Option<SubscriptionId>, step: Step) -> Option<Option<SubscriptionId>> {
        match (from, step) {
            (None, Step::Alias(id)) => Some(Some(id)),
            (Some(_), Step::Undo) => Some(None),
            (Some(_), Step::Alias(_)) | (None, Step::Undo) => None,
        }
    }
}

/// All delegated subscriptions whose first job is kept.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Delegations {
    pub(crate) all: BTreeMap<DelegationKey, Delegation>,
    /// Those without an id, by the hash of their record: several, where only the nonce differs.
    pub(crate) by_record: BTreeSet<(Hash, DelegationKey)>,
    /// Those with one, by it.
    pub(crate) by_id: BTreeSet<(SubscriptionId, DelegationKey)>,
}

impl Delegations {
    /// One, by owner and nonce.
    #[must_use]
    pub fn get(&self, key: DelegationKey) -> Option<&Delegation> {
        self.all.get(&key)
    }

    /// The lowest of those without an id that have this record.
    fn first_of(&self, record: Hash) -> Option<DelegationKey> {
        self.by_record
            .range((record, (Address::ZERO, 0))..)
            .next()
            .filter(|(of, _)| *of == record)
            .map(|(_, key)| *key)
    }

    /// Those of an id: one, unless it was known before the chain gave it to another.
    pub(crate) fn of_id(&self, id: SubscriptionId) -> Vec<DelegationKey> {
        self.by_id
            .range((id, (Address::ZERO, 0))..)
            .take_while(|(of, _)| *of == id)
            .map(|(_, key)| *key)
            .collect()
    }

    /// All, by owner and nonce.
    pub fn iter(&self) -> impl Iterator<Item = (&DelegationKey, &Delegation)> {
        self.all.iter()
    }
}

/// The id under which a client may ask for the job of a delegated subscription: the first 16
/// bytes of SHA-256 over its owner and nonce.
#[must_use]
pub fn delegated_job_id(key: DelegationKey) -> JobId {
    let mut hasher = Sha256::new();
    hasher.update(b"infernet delegated");
    hasher.update(key.0.0);
    hasher.update(key.1.to_be_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    let mut id = [0; 16];
    for (place, byte) in id.iter_mut().zip(digest) {
        *place = byte;
    }
    JobId(id)
}

impl Machine {
    /// `DelegatedAccepted`.
    pub(crate) fn delegated_accepted(
        &mut self,
        turn: &mut Turn,
        request: &DelegatedRequest,
    ) -> Result<(), Halt> {
        let key = (request.subscription.owner, request.nonce);
        let Some(config) = self.config.as_ref() else {
            return Ok(());
        };
        let verdict = admission::admit(config, &self.catalog, &request.subscription, true);
        let containers = self
            .catalog
            .chain(config, &request.subscription.container_id)
            .map(|container| container.id.clone())
            .collect();
        let input = ContainerInput::Json(PayloadAt {
            seq: turn.seq,
            payload: request.input,
        });
        let requires_proof = !request.subscription.verifier.is_zero();
        let work = Work::Delegated {
            job: delegated_job_id(key),
            client: request.client,
            key,
            interval: Interval(0),
        };
        let first = subscription::first_at(&request.subscription, self.present(request));
        let no = self.wait_delegated(work, containers, requires_proof, input);
        self.delegations.all.insert(
            key,
            Delegation {
                request: request.clone(),
                job: no,
                id: None,
                first,
                attempts: 0,
                settled: false,
            },
        );
        self.delegations
            .by_record
            .insert((record_hash(&request.subscription), key));
        if let Err(reason) = verdict {
            return self.fail_job(turn, no, Cause::Refused(reason));
        }
        // Nothing would begin it before the contract's clock ends.
        if request.subscription.active_at == CANCELLED_AT {
            self.settle_request(key);
            return self.fail_job(turn, no, Cause::Cancelled);
        }
        if request.known_id.0 != 0 {
            self.alias(key, request.known_id);
        }
        self.schedule_delegated(turn, key)
    }

    /// The time of the newest block that is known of when a request comes: of the recorded head, or
    /// of that at which it was checked.
    fn present(&self, request: &DelegatedRequest) -> BlockTime {
        let recorded = self.chain.head.map_or(BlockTime(0), |head| head.time);
        recorded.max(request.seen)
    }

    /// A delegated job waits until its subscription is active, by a head that is no older than what
    /// was seen of the chain when it came.
    fn schedule_delegated(&mut self, turn: &mut Turn, key: DelegationKey) -> Result<(), Halt> {
        let Some(delegation) = self.delegations.get(key) else {
            return Ok(());
        };
        let request = &delegation.request;
        let active_at = request.subscription.active_at;
        let active = subscription::in_epoch_of(self.present(request).0, active_at);
        let (no, at) = (delegation.job, active.max(request.seen.0));
        self.await_interval(no, at);
        if self.takes_up() {
            self.serve_delegated(turn)?;
        }
        Ok(())
    }

    /// A delegated job waits for its interval to begin.
    fn await_interval(&mut self, no: JobNo, at: u64) {
        self.schedule.delegated.insert((at, no));
        if let Some(job) = self.jobs.all.get_mut(no) {
            job.closes = Some(at);
        }
    }

    /// Delegated jobs whose subscription is active now; for a node that takes up what is due.
    pub(crate) fn serve_delegated(&mut self, turn: &mut Turn) -> Result<(), Halt> {
        let Some(head) = self.chain.head else {
            return Ok(());
        };
        for _ in 0..crate::limits::TAKE_UPS_PER_EVENT_MAX {
            let Some((at, no)) = self.schedule.delegated.first().copied() else {
                break;
            };
            if at > head.time.0 || self.jobs.open_interval >= self.open_max() || self.paused() {
                break;
            }
            self.schedule.delegated.remove(&(at, no));
            if let Some(job) = self.jobs.all.get_mut(no) {
                job.closes = None;
            }
            self.begin_delegated(turn, no, &head)?;
        }
        Ok(())
    }

    fn begin_delegated(&mut self, turn: &mut Turn, no: JobNo, head: &BlockRef) -> Result<(), Halt> {
        let Some(Work::Delegated { key, .. }) = self.jobs.get(no).map(|job| &job.work) else {
            return Ok(());
        };
        let key = *key;
        let Some(delegation) = self.delegations.get(key) else {
            return Ok(());
        };
        let terms = &delegation.request.subscription;
        let (paid, id, first) = (
            !terms.payment_amount.is_zero(),
            delegation.id,
            delegation.first,
        );
        let interval =
            subscription::interval_at(terms.active_at, terms.period, head.time.as_contract_time());
        // The ordinary work on an interval of that id came first: the request is attached to it.
        if let Some(id) = id
            && self
                .jobs
                .by_interval(id, interval)
                .is_some_and(|(of, _)| of != no)
        {
            return self.make_way(turn, no, interval);
        }
        if self.awaits_record(key) {
            self.await_interval(no, head.time.0.saturating_add(1));
            return Ok(());
        }
        // A later interval is due as the chain's own, and is taken up as that.
        let created = id.and_then(|id| self.subscriptions.get(id));
        if interval > first && created.is_some_and(|tracked| tracked.subscription == *terms) {
            return self.make_way(turn, no, interval);
        }
        let closes = self.closes_of(terms.active_at, terms.period, interval);
        self.set_delegated_interval(no, interval, closes);
        if let Some(id) = id {
            self.take_over(id, interval, no);
        }
        match self.delegated_chance(key, interval) {
            Chance::Open => {}
            Chance::Early | Chance::Met => {
                return self.fail_job(turn, no, Cause::Undelivered(Loss::Met));
            }
            Chance::Lost(Loss::Closed) => {
                let Some(at) = self.next_attempt(key, interval) else {
                    return self.give_up(turn, no, Loss::Closed);
                };
                self.postpone_delegated(no, at);
                return Ok(());
            }
            Chance::Lost(loss) => return self.give_up(turn, no, loss),
        }
        self.begin_waiting(turn, no, paid)
    }

    /// Whether the record behind a known id is still to be heard of: the sync has not come to it,
    /// or it is newer than every record so far. The latter is waited for as long as the signature
    /// holds. Until then nobody knows whether it is the signed one.
    fn awaits_record(&self, key: DelegationKey) -> bool {
        let Some(Delegation { request, id, .. }) = self.delegations.get(key) else {
            return false;
        };
        let Some(id) = id.filter(|id| self.subscriptions.get(*id).is_none()) else {
            return false;
        };
        let is_newest = || self.subscriptions.range(id, 1).is_empty();
        self.subscriptions.cursor.is_some_and(|next| next <= id)
            || is_newest() && self.expected_inclusion().as_contract_time() < request.expiry
    }

    /// Judges a delivery that creates its subscription, or finds it created.
    pub(crate) fn delegated_chance(&self, key: DelegationKey, interval: Interval) -> Chance {
        let Some(delegation) = self.delegations.get(key) else {
            return Chance::Lost(Loss::Gone);
        };
        let request = &delegation.request;
        let expected = self.expected_inclusion();
        let now = expected.as_contract_time();
        let tracked = delegation.id.and_then(|id| self.subscriptions.get(id));
        if delegation.id.is_some() && tracked.is_none() {
            return if self.awaits_record(key) {
                Chance::Early
            } else {
                Chance::Lost(Loss::Gone)
            };
        }
        if let Some(tracked) = tracked {
            if tracked.subscription.active_at == CANCELLED_AT {
                return Chance::Lost(Loss::Cancelled);
            }
            if tracked.subscription != request.subscription {
                return Chance::Lost(Loss::Gone);
            }
        } else if now >= request.expiry {
            return Chance::Lost(Loss::Closed);
        }
        let responses = tracked
            .map(|tracked| tracked.responses_in(interval))
            .unwrap_or_default();
        self.chance_by(&request.subscription, interval, responses)
    }

    /// What the transaction of a delegated delivery does.
    pub(crate) fn delegated_action(
        &self,
        key: DelegationKey,
        delivery: crate::effect::Delivery,
    ) -> Option<Action> {
        let request = &self.delegations.get(key)?.request;
        Some(Action::DeliverDelegated {
            subscription: Box::new(request.subscription.clone()),
            nonce: request.nonce,
            expiry: request.expiry,
            v: request.v,
            r: request.r,
            s: request.s,
            delivery,
        })
    }

    /// A subscription appeared on chain: if it is a delegated one of ours, it has its id now.
    pub(crate) fn alias_created(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        id: SubscriptionId,
        subscription: &Subscription,
        nonce: Option<u32>,
    ) {
        let key = match nonce {
            Some(nonce) => Some((subscription.owner, nonce)),
            None if self.delegations.by_record.is_empty() => None,
            None => self.delegations.first_of(record_hash(subscription)),
        };
        let Some(key) = key else {
            return;
        };
        // Its nonce has one id at a time: an older one went with its block.
        if self
            .delegations
            .get(key)
            .is_some_and(|delegation| delegation.id.is_some_and(|known| known != id))
        {
            self.alias_undone(turn, key);
        }
        if self
            .delegations
            .get(key)
            .is_none_or(|delegation| delegation.id.is_some())
        {
            return;
        }
        self.alias(key, id);
        self.journal(block.number, Undo::Aliased(key));
    }

    /// An id turns out to be another's than was known: what was aliased to it has none.
    pub(crate) fn drop_strange_aliases(
        &mut self,
        turn: &mut Turn,
        id: SubscriptionId,
        owner: Address,
        nonce: Option<u32>,
    ) {
        for key in self.delegations.of_id(id) {
            if key.0 != owner || nonce.is_some_and(|nonce| nonce != key.1) {
                self.alias_undone(turn, key);
            }
        }
    }

    fn alias(&mut self, key: DelegationKey, id: SubscriptionId) {
        if self.step_delegation(key, Step::Alias(id)).is_none() {
            return;
        }
        let Some(delegation) = self.delegations.get(key) else {
            return;
        };
        let (no, record) = (
            delegation.job,
            record_hash(&delegation.request.subscription),
        );
        self.delegations.by_record.remove(&(record, key));
        self.delegations.by_id.insert((id, key));
        if let Some(tracked) = self.subscriptions.tracked.get_mut(id.0)
            && tracked.origin.nonce().is_none()
        {
            tracked.origin = Origin::Delegated(key.1);
            self.rejudge(id);
        }
        if let Some(job) = self.jobs.get(no)
            && let Work::Delegated { interval, .. } = job.work
            && interval.0 > 0
            && !may_begin_again(job.stage)
        {
            self.take_over(id, interval, no);
        }
    }

    /// Gives a delegated subscription an id, or takes it away; gives back what it had, or `None`
    /// where the step does not apply.
    pub(crate) fn step_delegation(
        &mut self,
        key: DelegationKey,
        step: Step,
    ) -> Option<Option<SubscriptionId>> {
        let delegation = self.delegations.all.get_mut(&key)?;
        let to = Delegation::step(delegation.id, step)?;
        let from = core::mem::replace(&mut delegation.id, to);
        self.trace.note(Transition::Delegation {
            key,
            from,
            step,
            to,
        });
        Some(from)
    }

    /// The job of a delegated subscription is the work on an interval of its id; not where the
    /// chain has another record under its nonce, whose intervals are others.
    fn take_over(&mut self, id: SubscriptionId, interval: Interval, no: JobNo) {
        if let Some(Work::Delegated { key, .. }) = self.jobs.get(no).map(|job| &job.work)
            && let Some(delegation) = self.delegations.get(*key)
            && let Some(tracked) = self.subscriptions.get(id)
            && tracked.subscription.active_at != CANCELLED_AT
            && tracked.subscription != delegation.request.subscription
        {
            return;
        }
        self.jobs.by_interval.entry((id, interval)).or_insert(no);
        if let Some(tracked) = self.subscriptions.tracked.get_mut(id.0) {
            tracked.taken = tracked.taken.max(interval);
            self.reschedule(id);
        }
    }

    /// The block that gave a delegated subscription its id is gone. What follows is decided by
    /// [`Machine::bring_back`].
    pub(crate) fn alias_undone(&mut self, turn: &mut Turn, key: DelegationKey) {
        let Some(id) = self.step_delegation(key, Step::Undo).flatten() else {
            return;
        };
        turn.unaliased.insert(key);
        let Some(delegation) = self.delegations.get(key) else {
            return;
        };
        let no = delegation.job;
        let record = record_hash(&delegation.request.subscription);
        self.delegations.by_record.insert((record, key));
        self.delegations.by_id.remove(&(id, key));
        if let Some(Work::Delegated { interval, .. }) = self.jobs.get(no).map(|job| &job.work) {
            let place = (id, *interval);
            if self.jobs.by_interval.get(&place) == Some(&no) {
                self.jobs.by_interval.remove(&place);
                self.give_back(id, place.1);
            }
        }
    }

    /// A job of a delegated subscription is forgotten, and with its newest one the request.
    pub(crate) fn forget_delegation(&mut self, key: DelegationKey, no: JobNo) {
        if self.delegations.get(key).is_none_or(|of| of.job != no) {
            return;
        }
        if let Some(delegation) = self.delegations.all.remove(&key) {
            let record = record_hash(&delegation.request.subscription);
            self.delegations.by_record.remove(&(record, key));
            if let Some(id) = delegation.id {
                self.delegations.by_id.remove(&(id, key));
                let places: Vec<(SubscriptionId, Interval)> = self
                    .jobs
                    .by_interval
                    .range((id, Interval(0))..=(id, Interval(u32::MAX)))
                    .filter(|(_, no)| **no == delegation.job)
                    .map(|(place, _)| *place)
                    .collect();
                for place in places {
                    self.jobs.by_interval.remove(&place);
                }
            }
        }
    }

    /// Steps a waiting job into its first stage.
    fn begin_waiting(&mut self, turn: &mut Turn, no: JobNo, paid: bool) -> Result<(), Halt> {
        if paid {
            self.step_job(no, job::Step::BeginPaid);
            self.read_payer(turn, no)
        } else {
            self.step_job(no, job::Step::BeginFree);
            self.run_container(turn, no)
        }
    }
}
