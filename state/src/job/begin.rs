//! How jobs begin, and what they ask for on the way: the payer, the inputs, the containers.

use alloc::{string::String, vec::Vec};

use super::{Cause, Job, Stage, Work};
use crate::{
    effect::{ContainerCall, ContainerInput, Effect, Location, Purpose},
    event::{JobKind, JobRequest},
    machine::{Halt, Machine},
    outbox::{Owner, Turn},
    subscription::Identity,
    types::{Interval, JobNo, PayloadAt},
};

impl Machine {
    /// `JobAccepted`: a client's job begins.
    pub(crate) fn job_accepted(
        &mut self,
        turn: &mut Turn,
        request: &JobRequest,
    ) -> Result<(), Halt> {
        let no = self.jobs.insert(Job {
            work: Work::Client {
                job: request.job,
                client: request.client,
                kind: request.kind,
                idempotency: request.idempotency,
            },
            containers: request.containers.clone(),
            requires_proof: request.requires_proof,
            input: Some(ContainerInput::Json(PayloadAt {
                seq: turn.seq,
                payload: request.input,
            })),
            results: Vec::new(),
            error: None,
            stage: Stage::Running { position: 0 },
            since: self.now,
            ended: None,
            delivery: None,
            effect: None,
            closes: None,
            expires: None,
        });
        self.expire_later(no);
        self.run_container(turn, no)
    }

    /// Work on an interval begins.
    pub(crate) fn begin_interval(
        &mut self,
        turn: &mut Turn,
        identity: Identity,
        interval: Interval,
        closes: Option<u64>,
    ) -> Result<(), Halt> {
        let (Some(config), Some(tracked)) =
            (self.config.as_ref(), self.subscriptions.get(identity.id))
        else {
            return Ok(());
        };
        let containers = self
            .catalog
            .chain(config, &tracked.subscription.container_id)
            .map(|container| container.id.clone())
            .collect();
        let subscription = &tracked.subscription;
        let paid = !subscription.payment_amount.is_zero();
        let requires_proof = !subscription.verifier.is_zero();
        let no = self.jobs.insert(Job {
            work: Work::Interval { identity, interval },
            containers,
            requires_proof,
            input: None,
            results: Vec::new(),
            error: None,
            stage: if paid {
                Stage::ReadingPayer
            } else {
                Stage::ReadingInputs
            },
            since: self.now,
            ended: None,
            delivery: None,
            effect: None,
            closes,
            expires: None,
        });
        if let Some(at) = closes {
            self.schedule.ends.insert((at, no));
        }
        if paid {
            self.read_payer(turn, no)
        } else {
            self.read_inputs(turn, no)
        }
    }

    /// Asks what the wallet of a job's consumer can pay.
    pub(crate) fn read_payer(&mut self, turn: &mut Turn, no: JobNo) -> Result<(), Halt> {
        let Some(terms) = self.job_terms(no) else {
            return self.fail_job(turn, no, Cause::Superseded);
        };
        let effect = Effect::ReadPayer {
            subscription: self.job_subscription(no),
            wallet: terms.wallet,
            spender: terms.owner,
            token: terms.payment_token,
        };
        let id = self.issue(turn, Owner::Job(no), effect)?;
        self.job_waits(no, id);
        Ok(())
    }

    /// A delegated subscription's job begins to wait.
    pub(crate) fn wait_delegated(
        &mut self,
        work: Work,
        containers: Vec<String>,
        requires_proof: bool,
        input: ContainerInput,
    ) -> JobNo {
        self.jobs.insert(Job {
            work,
            containers,
            requires_proof,
            input: Some(input),
            results: Vec::new(),
            error: None,
            stage: Stage::Waiting,
            since: self.now,
            ended: None,
            delivery: None,
            effect: None,
            closes: None,
            expires: None,
        })
    }

    /// A waiting job knows its interval now.
    pub(crate) fn set_delegated_interval(
        &mut self,
        no: JobNo,
        interval: Interval,
        closes: Option<u64>,
    ) {
        if let Some(job) = self.jobs.all.get_mut(no) {
            if let Work::Delegated { interval: of, .. } = &mut job.work {
                *of = interval;
            }
            job.closes = closes;
            if let Some(at) = closes {
                self.schedule.ends.insert((at, no));
            }
        }
    }

    pub(super) fn read_inputs(&mut self, turn: &mut Turn, no: JobNo) -> Result<(), Halt> {
        let Some((identity, interval)) = self.interval_of(no) else {
            return Ok(());
        };
        let (Some(chain), Some(head), Some(tracked)) = (
            self.chain_config(),
            self.chain.head,
            self.subscriptions.get(identity.id),
        ) else {
            return self.fail_job(turn, no, Cause::Superseded);
        };
        let effect = Effect::ReadInputs {
            consumer: tracked.subscription.owner,
            subscription: identity.id,
            interval,
            timestamp: head.time,
            caller: chain.node,
        };
        let id = self.issue(turn, Owner::Job(no), effect)?;
        self.job_waits(no, id);
        Ok(())
    }

    /// Calls the container of a running job's position.
    pub(crate) fn run_container(&mut self, turn: &mut Turn, no: JobNo) -> Result<(), Halt> {
        let Some(job) = self.jobs.all.get(no) else {
            return Ok(());
        };
        let Stage::Running { position } = job.stage else {
            return Ok(());
        };
        let position = usize::from(position);
        let last = position.saturating_add(1) >= job.containers.len();
        let onchain = if last {
            Location::Onchain
        } else {
            Location::Offchain
        };
        let (purpose, destination) = match &job.work {
            Work::Client { job, kind, .. } => (
                Purpose::Job(*job),
                match kind {
                    JobKind::Offchain => Location::Offchain,
                    JobKind::Stream => Location::Stream,
                },
            ),
            Work::Reported { .. } => return Ok(()),
            Work::Interval { identity, interval } => (
                Purpose::Interval {
                    subscription: identity.id,
                    interval: *interval,
                },
                onchain,
            ),
            Work::Delegated { interval, .. } => (
                Purpose::Interval {
                    subscription: self.job_subscription(no),
                    interval: *interval,
                },
                onchain,
            ),
        };
        let before = position
            .checked_sub(1)
            .and_then(|before| job.results.get(before))
            .map(|output| ContainerInput::Json(*output));
        let (Some(container), Some(input)) =
            (job.containers.get(position).cloned(), before.or(job.input))
        else {
            return self.fail_job(turn, no, Cause::Mismatched);
        };
        let effect = Effect::RunContainer(ContainerCall {
            container,
            purpose,
            input,
            destination,
            requires_proof: job.requires_proof && last,
        });
        let id = self.issue(turn, Owner::Job(no), effect)?;
        self.job_waits(no, id);
        Ok(())
    }
}
