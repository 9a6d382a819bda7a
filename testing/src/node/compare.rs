//! What the machine claims to know, against what the contracts say.

use std::collections::BTreeSet;

use infernet_contracts::convert::{from_address, from_u256, to_address};
use infernet_state::{
    delivery::Loss,
    job::{Cause, Job, Stage, Work},
    ledger::Role,
    proof::ProofState,
    subscription::{self, Standing, interval_end, judge},
    types::{self, Interval, SubscriptionId},
};
use revm::primitives::U256;

use super::{INCLUSION_S, Node, books::Net, differ, origins::Origin};
use crate::{
    model::{CANCELLED, Subscription},
    twin::Mismatch,
};

/// Seconds of block time in which nothing is begun any more before an interval ends: the defaults of the
/// configuration, margin and delay.
const CLOSING_S: u64 = 2 + 2 + 1;

fn equal<T: PartialEq + std::fmt::Display>(
    what: impl FnOnce() -> String,
    machine: T,
    contracts: T,
) -> Result<(), Mismatch> {
    if machine == contracts {
        return Ok(());
    }
    Err(differ(what(), machine.to_string(), contracts.to_string()))
}

impl Node {
    /// Compares everything after a block. `read` are the tokens whose balance it told.
    pub(super) fn compare(&self, read: &BTreeSet<types::Address>) -> Result<(), Mismatch> {
        if self.is_behind() || !self.open.is_empty() || !self.others.is_empty() {
            return Ok(()); // The machine does not know yet.
        }
        self.compare_subscriptions()?;
        self.compare_proofs()?;
        self.compare_money(read)
    }

    fn compare_subscriptions(&self) -> Result<(), Mismatch> {
        let model = &self.twin.model;
        equal(
            || "the number of subscriptions".into(),
            self.machine.subscriptions().len(),
            model.subscriptions().len(),
        )?;
        for (id, sub) in model.subscriptions() {
            let Some(tracked) = self.machine.subscriptions().get(SubscriptionId(*id)) else {
                return Err(differ(
                    format!("subscription {id}"),
                    "unknown",
                    format!("{sub:?}"),
                ));
            };
            if tracked.subscription != sub.into() {
                let known = format!("{:?}", tracked.subscription);
                return Err(differ(
                    format!("subscription {id}"),
                    known,
                    format!("{sub:?}"),
                ));
            }
            let cancelled = sub.active_at == CANCELLED;
            equal(
                || format!("whether subscription {id} is cancelled"),
                tracked.standing == Standing::Cancelled,
                cancelled,
            )?;
            if cancelled {
                continue;
            }
            // The interval that runs, and the newest one that was heard of.
            let current = Interval(model.current_interval(*id));
            for interval in BTreeSet::from([current.0, tracked.responses.interval.0]) {
                let known = tracked.responses_in(Interval(interval));
                if interval != current.0 && interval != tracked.responses.interval.0 {
                    continue;
                }
                let count = model.counts().get(&(*id, interval)).copied().unwrap_or(0);
                equal(
                    || format!("the answers to ({id}, {interval})"),
                    known.count,
                    count,
                )?;
                let responded = model.responded().contains(&(*id, interval, self.account));
                equal(
                    || format!("the node's answer to ({id}, {interval})"),
                    known.responded,
                    responded,
                )?;
            }
            self.compare_work(*id, sub, current)?;
        }
        Ok(())
    }

    /// Whatever is open and served has its job, or never will have one for a reason.
    fn compare_work(
        &self,
        id: u32,
        sub: &Subscription,
        interval: Interval,
    ) -> Result<(), Mismatch> {
        let Some(tracked) = self.machine.subscriptions().get(SubscriptionId(id)) else {
            return Ok(());
        };
        // Nothing is taken up before the account was observed; and where a reorg took time back, what had begun by
        // then waits for it.
        let waits = !self.observed || self.twin.model.time() < self.latest;
        let worked = self.job_of(id, interval).is_some() || self.is_of_old_clock(id, interval);
        if waits || worked || !self.is_served(id) || !self.is_open(id, sub, interval) {
            return Ok(());
        }
        Err(differ(
            format!("the work on ({id}, {interval})"),
            format!("none, {:?}, due {:?}", tracked.standing, tracked.due),
            format!("it is open: {sub:?}"),
        ))
    }

    /// Whether an answer would be taken now, and when it could be included (the contract's clock may begin anew in
    /// between), and nobody has to hurry.
    pub(super) fn is_open(&self, id: u32, sub: &Subscription, interval: Interval) -> bool {
        let model = &self.twin.model;
        let count = model.counts().get(&(id, interval.0)).copied().unwrap_or(0);
        let responded = model.responded().contains(&(id, interval.0, self.account));
        let now = model.time();
        let ends = interval_end(sub.active_at, sub.period, interval)
            .map(|end| subscription::in_epoch_of(now, end));
        let soon = ends.is_some_and(|end| end < now + CLOSING_S + 1);
        let open = [now, now + INCLUSION_S].into_iter().all(|at| {
            #[expect(clippy::cast_possible_truncation, reason = "the contract truncates")]
            let at = at as u32;
            judge(&sub.into(), at, interval, count, responded).is_ok()
        });
        open && !soon
    }

    /// Whether the machine serves a subscription, whose creation is as deep as the configuration wants.
    pub(super) fn is_served(&self, id: u32) -> bool {
        let Some(tracked) = self.machine.subscriptions().get(SubscriptionId(id)) else {
            return false;
        };
        let config = self.machine.config().and_then(|of| of.chain.as_ref());
        let deep = tracked.height + config.map_or(0, |chain| chain.trail_head_blocks);
        let admitted = match tracked.standing {
            Standing::Admitted | Standing::Completed => true,
            Standing::Refused(_) | Standing::Cancelled => false,
        };
        admitted && self.head().number >= deep
    }

    /// Whether an interval was worked on, or passed over, before the contract's clock of 32 bits began anew: it is
    /// open once more then, 136 years later, and the machine leaves it.
    pub(super) fn is_of_old_clock(&self, id: u32, interval: Interval) -> bool {
        let tracked = self.machine.subscriptions().get(SubscriptionId(id));
        self.began_anew() && tracked.is_some_and(|tracked| tracked.taken >= interval)
    }

    pub(super) fn job_of(&self, id: u32, interval: Interval) -> Option<&Job> {
        let jobs = self.machine.jobs();
        jobs.by_interval(SubscriptionId(id), interval)
            .map(|(_, job)| job)
    }

    fn compare_proofs(&self) -> Result<(), Mismatch> {
        let model = &self.twin.model;
        let mut open = BTreeSet::new();
        for (id, interval, proof) in self.machine.proofs().iter() {
            let key = (id.0, interval.0, self.account);
            let what = || format!("the proof of ({id}, {interval})");
            let request = model.proof_requests().get(&key);
            if proof.state != ProofState::Open {
                let verdict = self.so_far.verdicts.get(&(id.0, interval.0));
                if verdict != Some(&proof.state) || request.is_some() {
                    let said = format!("{verdict:?}, {request:?}");
                    return Err(differ(what(), format!("{:?}", proof.state), said));
                }
                continue;
            }
            open.insert((id.0, interval.0));
            let Some(request) = request else {
                return Err(differ(what(), "open", "no request"));
            };
            #[expect(clippy::cast_possible_truncation, reason = "the contract truncates")]
            let expires = proof.expires as u32;
            let price = model.subscription(id.0).map(|sub| sub.payment_amount);
            let known = (expires, proof.escrow, Some(proof.stake));
            let said = (
                request.expiry,
                from_u256(request.consumer_escrowed),
                price.map(from_u256),
            );
            if known != said {
                return Err(differ(what(), format!("{known:?}"), format!("{said:?}")));
            }
        }
        for (id, interval, node) in model.proof_requests().keys() {
            let own = *node == self.account && self.so_far.delivered.contains(&(*id, *interval));
            if own && !open.contains(&(*id, *interval)) {
                let what = format!("the proof of ({id}, {interval})");
                return Err(differ(what, "not open", "a request"));
            }
        }
        Ok(())
    }

    fn compare_money(&self, read: &BTreeSet<types::Address>) -> Result<(), Mismatch> {
        let model = &self.twin.model;
        let wallet = model
            .wallets()
            .get(&self.wallet)
            .cloned()
            .unwrap_or_default();
        for (token, allowed) in self.machine.chores().allowances() {
            let said = wallet.allowance(self.account, to_address(token));
            equal(
                || format!("the allowance of {token}"),
                allowed,
                from_u256(said),
            )?;
        }
        for token in self.twin.cast.tokens {
            let of = |role| self.of(role, from_address(token));
            let (mut stake, mut escrow) = (Net::default(), Net::default());
            for ((id, interval, node), request) in model.proof_requests() {
                let Some(sub) = model.subscription(*id) else {
                    continue;
                };
                if *node != self.account || sub.payment_token != token {
                    continue;
                }
                if request.node_wallet == self.wallet {
                    stake.add(sub.payment_amount);
                }
                if self.so_far.delivered.contains(&(*id, *interval)) {
                    escrow.add(request.consumer_escrowed);
                }
            }
            let what = |role: &str| format!("{role} in {token}");
            equal(|| what("the stake"), of(Role::Stake), stake)?;
            equal(|| what("the escrow"), of(Role::Escrow), escrow)?;
            equal(
                || what("the receivable"),
                of(Role::Receivable),
                Net::default(),
            )?;
            let books = &self.so_far.books;
            let named = from_address(token);
            let must = |of: &std::collections::BTreeMap<types::Address, Net>| {
                of.get(&named).copied().unwrap_or_default()
            };
            equal(
                || what("the earnings"),
                of(Role::Earnings).turned(),
                must(&books.earnings),
            )?;
            equal(
                || what("the slashes"),
                of(Role::Slashes),
                must(&books.slashes),
            )?;
            equal(|| what("the owner's"), of(Role::Owner), must(&books.owner))?;
            equal(
                || what("all fees"),
                of(Role::ProtocolFees).with(of(Role::VerifierFees)),
                must(&books.protocol).with(must(&books.verifiers)),
            )?;
            if !books.blurred.contains(&named) {
                let protocol = must(&books.protocol);
                equal(
                    || what("the protocol's fees"),
                    of(Role::ProtocolFees),
                    protocol,
                )?;
            }
            if read.contains(&named) {
                let held = U256::max(model.balance(token, self.wallet), U256::ZERO);
                let known = of(Role::NodeWallet).with(of(Role::Stake));
                equal(|| what("the wallet"), known, Net::from(held))?;
            }
        }
        equal(
            || "the gas".into(),
            self.of(Role::Gas, types::Address::ZERO),
            self.so_far.books.gas,
        )
    }

    fn of(&self, role: Role, token: types::Address) -> Net {
        self.machine.ledger().totals(role, token).balance().into()
    }

    /// Whether the contract's clock, of 32 bits, began anew.
    pub(super) fn began_anew(&self) -> bool {
        let first = self.chain.first().map_or(0, |closed| closed.block.time.0);
        first >> 32 != self.twin.model.time() >> 32
    }

    /// At the end: each job came to what the contracts say it came to.
    pub(super) fn compare_ends(&mut self) -> Result<(), Mismatch> {
        let mut counted = Vec::new();
        for (no, job) in self
            .machine
            .jobs()
            .range_from(infernet_state::types::JobNo(0))
        {
            let (id, interval) = match &job.work {
                Work::Interval { identity, interval } => {
                    // Its subscription is gone: nothing of it was told to anybody, or only too late.
                    let life = Origin::Interval(identity.id, identity.block, *interval);
                    if self.life_of(identity.id, *interval) != Some(life) {
                        if !job.stage.is_end() {
                            let stage = format!("{:?}", job.stage);
                            return Err(differ(
                                format!("job {no}"),
                                stage,
                                "its subscription is gone",
                            ));
                        }
                        self.happened.count("a job's subscription is gone");
                        continue;
                    }
                    (identity.id, *interval)
                }
                Work::Delegated { key, interval, .. } => {
                    let known = self.machine.delegations().get(*key);
                    let Some((id, known)) = known.and_then(|known| Some((known.id?, known))) else {
                        continue;
                    };
                    // Another record took its nonce, or it never began.
                    let sub = self.twin.model.subscription(id.0);
                    let other = sub.is_none_or(|sub| known.request.subscription != sub.into());
                    if other || interval.0 == 0 {
                        continue;
                    }
                    (id, *interval)
                }
                Work::Client { .. } | Work::Reported { .. } => continue,
            };
            // Another job is the interval's.
            let jobs = self.machine.jobs().by_interval(id, interval);
            if jobs.is_some_and(|(of, _)| of != no) {
                continue;
            }
            counted.extend(
                self.compare_end(job, id, interval)
                    .map_err(|mismatch| Mismatch {
                        what: format!("job {no}: {}", mismatch.what),
                        ..mismatch
                    })?,
            );
        }
        for what in counted {
            self.happened.count(what);
        }
        Ok(())
    }

    fn compare_end(
        &self,
        job: &Job,
        id: SubscriptionId,
        interval: Interval,
    ) -> Result<Option<&'static str>, Mismatch> {
        let model = &self.twin.model;
        let Some(sub) = model.subscription(id.0) else {
            return Err(differ("its subscription", "exists", "does not"));
        };
        let what = || format!("the end of ({id}, {interval})");
        let responded = model
            .responded()
            .contains(&(id.0, interval.0, self.account));
        let count = model
            .counts()
            .get(&(id.0, interval.0))
            .copied()
            .unwrap_or(0);
        // An answer to what had the id before a reorg may have come first: no job of its present life's.
        let answer = self.so_far.answers.get(&(id.0, interval.0));
        let stray = matches!(answer, Some(of @ Origin::Interval(..)) if self.life_of(id, interval) != Some(*of));
        let delivered = self.so_far.delivered.contains(&(id.0, interval.0)) && !stray;
        // Of a cancelled one nobody can tell any more when its intervals ended, nor of any when the
        // contract's clock began anew.
        let cancelled = sub.active_at == CANCELLED;
        let over = cancelled
            || self.began_anew()
            || interval_end(sub.active_at, sub.period, interval).is_some_and(|end| {
                subscription::in_epoch_of(model.time(), end) < model.time() + CLOSING_S + 1
            });
        let met = responded || count == sub.redundancy;
        // After a reorg another reason may have taken the first one's place.
        let other = self.forks > 0 && (met || over);
        let said = || {
            format!(
                "{count} of {}, by the node: {responded}, by the machine: {delivered}",
                sub.redundancy
            )
        };
        let (fits, happened) = match job.stage {
            Stage::Included | Stage::Succeeded => (delivered, None),
            Stage::Failed(Cause::Undelivered(Loss::Met)) => (
                !delivered && (met || other),
                Some("an interval was met by others"),
            ),
            Stage::Failed(Cause::IntervalClosed) => (
                !delivered && (over || other),
                Some("an interval closed first"),
            ),
            Stage::Failed(Cause::Cancelled) => (
                !delivered && (cancelled || other),
                Some("a subscription of the node was cancelled"),
            ),
            Stage::Failed(Cause::Refused(_)) => (!delivered, Some("a job's payer was refused")),
            Stage::Failed(_) => (!delivered, Some("a job failed otherwise")),
            Stage::Waiting
            | Stage::ReadingPayer
            | Stage::ReadingInputs
            | Stage::Running { .. }
            | Stage::Delivering => (!delivered, Some("a job was under way at the end")),
        };
        if fits {
            return Ok(happened);
        }
        Err(differ(what(), format!("{:?}", job.stage), said()))
    }
}
