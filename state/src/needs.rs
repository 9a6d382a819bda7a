//! Which payloads an event brings, and which the machine may still ask for: everything older may
//! be erased.

use alloc::{vec, vec::Vec};

use crate::{
    effect::{Action, ContainerInput, Delivery, Effect},
    event::{Event, Failure, Outcome, Success},
    job::Work,
    machine::Machine,
    types::{PayloadAt, PayloadRef, Seq},
};

impl Event {
    /// The payloads that it names, which are recorded with it: as often as it names them.
    #[must_use]
    pub fn payloads(&self) -> Vec<PayloadRef> {
        match self {
            Self::JobAccepted(request) => vec![request.input],
            Self::DelegatedAccepted(request) => vec![request.input],
            Self::JobReported { result, .. } => result.iter().copied().collect(),
            Self::EffectEnded { outcome, .. } => of_outcome(outcome),
            Self::NodeStarted { .. }
            | Self::ConfigChanged(_)
            | Self::Upgraded { .. }
            | Self::WallTimePassed { .. }
            | Self::AccountObserved { .. }
            | Self::QuarantineLifted
            | Self::ChainCommitted { .. }
            | Self::HeadObserved { .. }
            | Self::ChainReorged { .. }
            | Self::ChainFinalized { .. }
            | Self::SubscriptionsSynced { .. }
            | Self::JobCancelled { .. } => Vec::new(),
        }
    }
}

fn of_outcome(outcome: &Outcome) -> Vec<PayloadRef> {
    match outcome {
        Outcome::Succeeded(success) => match success {
            Success::InputsRead { input } => vec![*input],
            Success::ContainerAnswered { output } => vec![*output],
            Success::ContainerAnsweredOnchain {
                output,
                deliver_input,
                deliver_output,
                deliver_proof,
            } => vec![*output, *deliver_input, *deliver_output, *deliver_proof],
            Success::Signed { raw, .. } => vec![*raw],
            Success::PayerRead { .. }
            | Success::ResponsesRead { .. }
            | Success::Simulated { .. }
            | Success::Broadcast
            | Success::LookedUp(_) => Vec::new(),
        },
        Outcome::Failed(failure) => match failure {
            Failure::Container { error, .. } => vec![*error],
            Failure::Reverted { .. }
            | Failure::Rejected(_)
            | Failure::Unavailable { .. }
            | Failure::NotRerun
            | Failure::Missing { .. } => Vec::new(),
        },
        Outcome::Unknown { .. } => Vec::new(),
    }
}

impl Machine {
    /// The oldest event whose payloads are still asked for: by an open job, by a client for a
    /// result that is kept, by a live delivery, by a transaction that is not settled, or by an
    /// effect under way. It never moves back: a reference to an older event is nowhere in the
    /// state, and a new one names a new event.
    #[must_use]
    pub fn payloads_needed_from(&self) -> Seq {
        let jobs = self.jobs.all.iter().flat_map(|(no, job)| {
            let open = !job.stage.is_end() || self.may_be_brought_back(no, job);
            let asked = match job.work {
                Work::Client { .. } | Work::Reported { .. } | Work::Delegated { .. } => true,
                Work::Interval { .. } => open,
            };
            let input = job.input.filter(|_| open).map(of_input);
            let answers = job.results.iter().copied().chain(job.error);
            input.into_iter().chain(answers.filter(move |_| asked))
        });
        let live = self
            .deliveries
            .all
            .values()
            .filter(|delivery| delivery.state.is_live());
        // One that was given up lives again when a transaction of it is included after all.
        let uses = self.account.versions().map(|version| &version.does);
        let sent = uses
            .flat_map(|does| does.deliveries())
            .filter_map(|no| self.deliveries.all.get(*no));
        let deliveries = live.chain(sent).flat_map(|delivery| {
            let bytes = &delivery.arguments;
            [bytes.input, bytes.output, bytes.proof]
        });
        let signed = self.account.versions().map(|version| version.raw);
        let effects = self
            .outbox
            .pending
            .values()
            .flat_map(|pending| of_effect(&pending.effect));
        jobs.chain(deliveries)
            .chain(signed)
            .chain(effects)
            .map(|at| at.seq)
            .min()
            .unwrap_or(Seq(self.seq.0.saturating_add(1)))
    }
}

fn of_input(input: ContainerInput) -> PayloadAt {
    match input {
        ContainerInput::Onchain(at) | ContainerInput::Json(at) => at,
    }
}

fn of_delivery(delivery: &Delivery) -> [PayloadAt; 3] {
    [delivery.input, delivery.output, delivery.proof]
}

fn of_action(action: &Action) -> Vec<PayloadAt> {
    match action {
        Action::Deliver(delivery) | Action::DeliverDelegated { delivery, .. } => {
            of_delivery(delivery).to_vec()
        }
        Action::DeliverBatch(deliveries) => deliveries.iter().flat_map(of_delivery).collect(),
        Action::ApproveStake { .. } | Action::FinalizeProof { .. } | Action::FillNonce => {
            Vec::new()
        }
    }
}

fn of_effect(effect: &Effect) -> Vec<PayloadAt> {
    match effect {
        Effect::RunContainer(call) => vec![of_input(call.input)],
        Effect::Simulate { action, .. } | Effect::Sign { action, .. } => of_action(action),
        Effect::Broadcast { raw, .. } => vec![*raw],
        Effect::ReadInputs { .. }
        | Effect::ReadPayer { .. }
        | Effect::ReadResponses { .. }
        | Effect::StopContainer { .. }
        | Effect::LookUpTransaction { .. } => Vec::new(),
    }
}
