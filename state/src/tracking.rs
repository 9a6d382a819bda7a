//! Following subscriptions: from the chain's facts to the work that is due.
//!
//! Each admitted subscription has exactly one entry in the schedule: the height at which its
//! creation is deep enough, then the start of its next interval. A block therefore costs what is
//! due in it, whatever else is tracked.

use crate::{
    admission,
    chain::Undo,
    delivery::{Loss, State},
    event::{Subscription, SyncedSubscription},
    job::{Cause, Stage},
    limits::{LOOKS_PER_EVENT_MAX, RETIRED_SUBSCRIPTIONS_KEPT, TAKE_UPS_PER_EVENT_MAX},
    machine::{Halt, Machine},
    outbox::Turn,
    subscription::{
        self, CANCELLED_AT, Due, Responses, Standing, Step, Tracked, interval_end, interval_start,
    },
    trace::Transition,
    types::{Address, BlockRef, DeliveryNo, Interval, JobNo, SubscriptionId},
};

impl Machine {
    /// `SubscriptionCreated`: it is judged, and scheduled or refused.
    pub(crate) fn subscription_created(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        id: SubscriptionId,
        subscription: &Subscription,
        delegation: Option<u32>,
    ) {
        if let Some(known) = self.subscriptions.get(id)
            && known.synced
            && known.height >= block.number
        {
            return; // The sync read it at a later block.
        }

        if self.subscriptions.cursor == Some(id) {
            let next = id.0.checked_add(1).map(SubscriptionId);
            self.journal(block.number, Undo::Cursor(self.subscriptions.cursor));
            self.subscriptions.cursor = next;
        }
        self.track(
            turn,
            block,
            id,
            Tracked {
                subscription: subscription.clone(),
                block: block.hash,
                height: block.number,
                due: Due::Never,
                taken: Interval(0),
                responses: Responses::default(),
                origin: delegation.into(),
                standing: Standing::Admitted,
                synced: false,
            },
        );
        self.alias_created(turn, block, id, subscription, delegation);
    }

    /// One entry of a sync of the past.
    pub(crate) fn subscription_synced(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        entry: &SyncedSubscription,
    ) {
        let subscription = &entry.subscription;
        if subscription.owner.is_zero() {
            return; // An id that nobody has: `Reader` gives zeroes.
        }
        let responses = Responses {
            interval: subscription::interval_at(
                subscription.active_at,
                subscription.period,
                block.time.as_contract_time(),
            ),
            count: entry.responses,
            responded: entry.responded,
        };
        if let Some(known) = self.subscriptions.get(entry.id)
            && known.subscription == *subscription
        {
            // Known from its own creation: only the verdict can be another, since a sync begins
            // anew with each change of what is served, and may have asked more than was known.
            let origin = known.origin.with(entry.origin);
            if let Some(known) = self.subscriptions.tracked.get_mut(entry.id.0) {
                known.origin = origin;
            }
            self.rejudge(entry.id);
            return;
        }
        self.track(
            turn,
            block,
            entry.id,
            Tracked {
                subscription: subscription.clone(),
                block: block.hash,
                height: block.number,
                due: Due::Never,
                taken: Interval(0),
                responses,
                origin: entry.origin,
                standing: Standing::Admitted,
                synced: true,
            },
        );
    }

    fn track(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        id: SubscriptionId,
        mut tracked: Tracked,
    ) {
        if tracked.subscription.active_at == CANCELLED_AT {
            tracked.standing = Standing::Cancelled;
        }
        let nonce = tracked.origin.nonce();
        self.drop_strange_aliases(turn, id, tracked.subscription.owner, nonce);
        self.unschedule(id);
        // Whoever told of it need not have learned its nonce.
        let brought = self.delegations.of_id(id).first().map(|(_, nonce)| *nonce);
        tracked.origin = tracked.origin.with(brought.into());
        let undo = match self.subscriptions.tracked.insert(id.0, tracked) {
            Some(replaced) => Undo::Replaced(id, alloc::boxed::Box::new(replaced)),
            None => Undo::Created(id),
        };
        self.journal(block.number, undo);
        self.rejudge(id);
    }

    /// Judges a record by the present configuration, and schedules it anew.
    pub(crate) fn rejudge(&mut self, id: SubscriptionId) {
        let Some(tracked) = self.subscriptions.get(id) else {
            return;
        };
        let verdict = self.judge_record(tracked);
        self.step_standing(id, verdict);
        self.reschedule(id);
    }

    fn judge_record(&self, tracked: &Tracked) -> Step {
        let Some(config) = self.config.as_ref() else {
            return Step::Refuse(admission::Reason::ChainNotEnabled);
        };
        match admission::admit(
            config,
            &self.catalog,
            &tracked.subscription,
            tracked.origin.may_be_delegated(),
        ) {
            Ok(()) => Step::Admit,
            Err(reason) => Step::Refuse(reason),
        }
    }

    /// Moves a subscription on, where the step applies.
    pub(crate) fn step_standing(&mut self, id: SubscriptionId, step: Step) {
        if let Some(tracked) = self.subscriptions.tracked.get_mut(id.0)
            && let Some(to) = tracked.standing.step(step)
        {
            let from = core::mem::replace(&mut tracked.standing, to);
            self.trace
                .note(Transition::Subscription { id, from, step, to });
        }
    }

    /// `SubscriptionCancelled`.
    pub(crate) fn subscription_cancelled(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        id: SubscriptionId,
    ) -> Result<(), Halt> {
        let Some(tracked) = self.subscriptions.tracked.get_mut(id.0) else {
            return Ok(());
        };
        if tracked.subscription.active_at == CANCELLED_AT {
            return Ok(());
        }
        let undo = Undo::Cancelled {
            id,
            active_at: tracked.subscription.active_at,
            standing: tracked.standing,
        };
        tracked.subscription.active_at = CANCELLED_AT;
        self.step_standing(id, Step::Cancel);
        self.journal(block.number, undo);
        self.reschedule(id);
        for job in self.jobs_on(id) {
            self.give_up(turn, job, Loss::Cancelled)?;
        }
        Ok(())
    }

    /// `SubscriptionFulfilled`: somebody responded in the interval of the block's time.
    pub(crate) fn subscription_fulfilled(
        &mut self,
        block: &BlockRef,
        id: SubscriptionId,
        node: Address,
    ) {
        let ours = self.chain_config().is_some_and(|chain| chain.node == node);
        let Some(tracked) = self.subscriptions.tracked.get_mut(id.0) else {
            return;
        };
        if tracked.synced && tracked.height >= block.number {
            return; // In the record already.
        }
        let before = tracked.responses;
        let mut responses = tracked.responses_in(tracked.interval(block));
        responses.count = responses.count.wrapping_add(1);
        responses.responded |= ours;
        tracked.responses = responses;
        self.journal(
            block.number,
            Undo::Counted {
                id,
                responses: before,
            },
        );
    }

    /// The open and kept jobs of a subscription's intervals.
    pub(crate) fn jobs_on(&self, id: SubscriptionId) -> alloc::vec::Vec<JobNo> {
        self.jobs
            .by_interval
            .range((id, Interval(0))..=(id, Interval(u32::MAX)))
            .map(|(_, no)| *no)
            .collect()
    }

    /// Takes a subscription out of the schedule.
    pub(crate) fn unschedule(&mut self, id: SubscriptionId) {
        if let Some(tracked) = self.subscriptions.tracked.get_mut(id.0) {
            match core::mem::take(&mut tracked.due) {
                Due::Never => {}
                Due::Retired(height) => {
                    self.schedule.retired.remove(&(height, id));
                }
                Due::Height(height) => {
                    self.schedule.depths.remove(&(height, id));
                }
                Due::Time(time) => {
                    self.schedule.starts.remove(&(time, id));
                }
            }
        }
    }

    /// Puts a subscription where its next work is.
    pub(crate) fn reschedule(&mut self, id: SubscriptionId) {
        self.unschedule(id);
        let Some(tracked) = self.subscriptions.get(id) else {
            return;
        };
        let mut due = self.next_due(tracked);
        if due == Due::Never {
            self.step_standing(id, Step::Complete);
            due = Due::Retired(self.chain.head.map_or(0, |head| head.number));
        }
        if let Some(tracked) = self.subscriptions.tracked.get_mut(id.0) {
            tracked.due = due;
        }
        match due {
            Due::Never => {}
            Due::Retired(height) => {
                self.schedule.retired.insert((height, id));
                self.forget_retired();
            }
            Due::Height(height) => {
                self.schedule.depths.insert((height, id));
            }
            Due::Time(time) => {
                self.schedule.starts.insert((time, id));
            }
        }
    }

    /// Each retired subscription makes room for itself: of those beyond what is kept, up to two
    /// are forgotten, the oldest first, if what retired them is final and nothing is left that their
    /// records judge. A sync that reads one again judges it anew.
    fn forget_retired(&mut self) {
        let head = self.chain.head.map_or(0, |head| head.number);
        let finalized = self.chain.finalized.map(|block| block.number);
        for _ in 0..2 {
            let oldest = self.schedule.retired.first().copied();
            let beyond = self.schedule.retired.len() > RETIRED_SUBSCRIPTIONS_KEPT;
            let Some((height, id)) =
                oldest.filter(|(height, _)| beyond && Some(*height) <= finalized)
            else {
                return;
            };
            let kept = self.is_needed(id);
            self.schedule.retired.remove(&(height, id));
            if !kept {
                self.subscriptions.tracked.remove(id.0);
            } else if let Some(tracked) = self.subscriptions.tracked.get_mut(id.0) {
                tracked.due = Due::Retired(head);
                self.schedule.retired.insert((head, id));
            }
        }
    }

    /// Whether something is yet to be judged by the record of a retired subscription: an open
    /// job, a client's request, or a delivery that a block may still hold, given up or not.
    fn is_needed(&self, id: SubscriptionId) -> bool {
        let open = |no| self.jobs.get(no).is_some_and(|job| !job.stage.is_end());
        let signed = |no: &DeliveryNo| {
            let delivery = self.deliveries.get(*no);
            delivery.is_some_and(|of| of.delegation.is_none() && of.identity.id == id)
        };
        self.jobs_on(id).into_iter().any(open)
            || !self.delegations.of_id(id).is_empty()
            || self
                .account
                .versions()
                .any(|version| version.does.deliveries().iter().any(signed))
    }

    /// When an admitted subscription is looked at next; `Never` when none of its intervals is
    /// left.
    fn next_due(&self, tracked: &Tracked) -> Due {
        if tracked.standing != Standing::Admitted {
            return Due::Never;
        }
        let trail = self
            .chain_config()
            .map_or(0, |chain| chain.trail_head_blocks);
        let deep = tracked.height.saturating_add(trail);
        let Some(head) = self.chain.head.filter(|head| head.number >= deep) else {
            return Due::Height(deep);
        };
        let subscription = &tracked.subscription;
        let next = tracked
            .first_at(&head)
            .max(Interval(tracked.taken.0.saturating_add(1)));
        if next.0 > subscription.frequency {
            return Due::Never;
        }
        interval_start(subscription.active_at, subscription.period, next)
            .map_or(Due::Never, |start| {
                Due::Time(subscription::in_epoch_of(head.time.0, start))
            })
    }

    /// Everything that the head has made due: creations deep enough, intervals that closed, and,
    /// unless the node catches up, intervals that began.
    pub(crate) fn serve_head(&mut self, turn: &mut Turn) -> Result<(), Halt> {
        let Some(head) = self.chain.head else {
            return Ok(());
        };
        while let Some((time, job)) = self.schedule.ends.first().copied() {
            if time > head.time.0 {
                break;
            }
            self.schedule.ends.remove(&(time, job));
            self.interval_closing(turn, job, &head)?;
        }
        while let Some((height, id)) = self.schedule.depths.first().copied() {
            if height > head.number {
                break;
            }
            self.schedule.depths.remove(&(height, id));
            self.reschedule(id);
        }
        self.serve_proofs(turn, head.time.0)?;
        if !self.takes_up() {
            return Ok(());
        }
        self.serve_delegated(turn)?;
        let open_max = self.open_max();
        let mut begun = 0_usize;
        for _ in 0..LOOKS_PER_EVENT_MAX {
            let Some((time, id)) = self.schedule.starts.first().copied() else {
                break;
            };
            if time > head.time.0
                || begun >= TAKE_UPS_PER_EVENT_MAX
                || self.jobs.open_interval >= open_max
                || self.paused()
            {
                break;
            }
            self.schedule.starts.remove(&(time, id));
            let begins = self.take_up(turn, id, &head)?;
            begun = begun.saturating_add(usize::from(begins));
        }
        Ok(())
    }

    /// The interval that runs now is due: its work begins, unless there is a reason against it.
    /// Says whether it began.
    fn take_up(
        &mut self,
        turn: &mut Turn,
        id: SubscriptionId,
        head: &BlockRef,
    ) -> Result<bool, Halt> {
        let Some(tracked) = self.subscriptions.get(id) else {
            return Ok(false);
        };
        let verdict = self.judge_record(tracked);
        self.step_standing(id, verdict);
        let Some(tracked) = self.subscriptions.get(id) else {
            return Ok(false);
        };
        let interval = tracked.interval(head);
        let identity = tracked.identity(id);
        let (active_at, period) = (tracked.subscription.active_at, tracked.subscription.period);
        let admitted = tracked.standing == Standing::Admitted;
        let open = self.chance_by(
            &tracked.subscription,
            interval,
            tracked.responses_in(interval),
        ) == crate::delivery::Chance::Open;
        let begun = self
            .jobs
            .by_interval(id, interval)
            .is_some_and(|(_, job)| !may_begin_again(job.stage));
        let begins = admitted && open && !begun && interval > tracked.taken;
        let is_final = self
            .chain
            .finalized
            .is_some_and(|of| of.number >= head.number);
        if begins {
            let closes = self.closes_of(active_at, period, interval);
            self.begin_interval(turn, identity, interval, closes)?;
        } else if admitted && !begun && !is_final {
            // A head that a reorg takes away came too late, or too early, for nobody.
            self.journal(head.number, Undo::Passed(id));
        }
        if let Some(tracked) = self.subscriptions.tracked.get_mut(id.0) {
            tracked.taken = tracked.taken.max(interval);
        }
        self.reschedule(id);
        Ok(begins)
    }

    /// The window of an interval's job is over: what was not sent is given up; what was sent may
    /// still make it until the interval ends.
    fn interval_closing(
        &mut self,
        turn: &mut Turn,
        job: JobNo,
        head: &BlockRef,
    ) -> Result<(), Halt> {
        if let Some(job) = self.jobs.all.get_mut(job) {
            job.closes = None;
        }
        let Some((terms, interval)) = self.interval_terms(job) else {
            return Ok(());
        };
        let ends = interval_end(terms.active_at, terms.period, interval);
        let sent = self
            .jobs
            .get(job)
            .and_then(|job| job.delivery)
            .and_then(|no| self.deliveries.get(no))
            .is_some_and(|delivery| match delivery.state {
                State::Sent(nonce) => self.account.slots.get(&nonce).is_some_and(|slot| slot.sent),
                State::Included(_) => true,
                State::Planned
                | State::Simulating
                | State::Ready
                | State::Final
                | State::Parked
                | State::Abandoned(_)
                | State::Withdrawn(_) => false,
            });
        let end = ends
            .map(|end| subscription::in_epoch_of(head.time.0, end))
            .filter(|end| *end > head.time.0);
        match end {
            Some(end) if sent => {
                if let Some(kept) = self.jobs.all.get_mut(job) {
                    kept.closes = Some(end);
                    self.schedule.ends.insert((end, job));
                }
                Ok(())
            }
            Some(_) | None => self.give_up(turn, job, Loss::Closed),
        }
    }

    /// After a reorg: what was met or cancelled may be open again.
    pub(crate) fn reconsider(&mut self, turn: &mut Turn, id: SubscriptionId) -> Result<(), Halt> {
        self.step_standing(id, Step::Reopen);
        let (Some(head), Some(tracked)) = (self.chain.head, self.subscriptions.get(id)) else {
            return Ok(());
        };
        // Of later intervals, too, the old chain may have met or passed over some.
        let from = tracked.first_at(&head);
        let jobs: alloc::vec::Vec<(Interval, JobNo)> = self
            .jobs
            .by_interval
            .range((id, from)..=(id, Interval(u32::MAX)))
            .map(|((_, interval), no)| (*interval, *no))
            .collect();
        let mut open = from;
        for (interval, no) in jobs {
            let Some(job) = self.jobs.get(no) else {
                continue;
            };
            if interval == open && !may_begin_again(job.stage) {
                open = Interval(open.0.saturating_add(1));
            }
            if let Some(delivery) = job.delivery {
                self.unpark(turn, delivery)?;
            }
        }
        self.retake(id, open);
        self.reschedule(id);
        Ok(())
    }

    /// An interval was worked on for another: if the subscription is still there, its work may
    /// begin.
    pub(crate) fn give_back(&mut self, id: SubscriptionId, interval: Interval) {
        self.step_standing(id, Step::Reopen);
        self.retake(id, interval);
        self.reschedule(id);
    }

    /// From this interval on, work may begin.
    fn retake(&mut self, id: SubscriptionId, interval: Interval) {
        if let Some(tracked) = self.subscriptions.tracked.get_mut(id.0) {
            let before = Interval(interval.0.saturating_sub(1));
            tracked.taken = tracked.taken.min(before);
        }
    }
}

/// Whether an interval's work may begin again after a reorg: it ended for a reason that the chain
/// gave and has taken back.
pub(crate) fn may_begin_again(stage: Stage) -> bool {
    match stage {
        Stage::Failed(
            Cause::Cancelled
            | Cause::Superseded
            | Cause::IntervalClosed
            | Cause::Created
            | Cause::Undelivered(Loss::Met),
        ) => true,
        Stage::Failed(
            Cause::Container
            | Cause::NotRerun
            | Cause::Expired
            | Cause::ChainUnavailable
            | Cause::PayloadMissing
            | Cause::Refused(_)
            | Cause::Mismatched
            | Cause::Undelivered(_)
            | Cause::Reported,
        )
        | Stage::Waiting
        | Stage::ReadingPayer
        | Stage::ReadingInputs
        | Stage::Running { .. }
        | Stage::Delivering
        | Stage::Included
        | Stage::Succeeded => false,
    }
}
