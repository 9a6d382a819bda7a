//! What came of an effect that a job waits for.

use super::{Cause, Job, Stage, Step, Work};
use crate::{
    admission,
    delivery::Arguments,
    effect::ContainerInput,
    event::{Failure, Outcome, Success},
    limits::READ_ATTEMPTS_MAX,
    machine::{Halt, Machine},
    outbox::Turn,
    types::{EffectId, JobNo, PayloadAt, PayloadRef},
};

impl Job {
    /// Keeps an answer. Without slack: ended jobs are many, and most have one.
    fn keep_result(&mut self, at: PayloadAt) {
        self.results.reserve_exact(1);
        self.results.push(at);
    }
}

impl Machine {
    /// What came of an effect that a job waits for.
    pub(crate) fn job_effect_ended(
        &mut self,
        turn: &mut Turn,
        no: JobNo,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        let attempts_max = self.limits().container_attempts_max;
        match outcome {
            Outcome::Succeeded(success) => {
                self.close_effect(id);
                self.job_effect_succeeded(turn, no, success)
            }
            Outcome::Failed(Failure::Container { error, retry }) => {
                if *retry && self.retry(id, attempts_max) {
                    return Ok(());
                }
                self.record_error(no, turn, *error);
                self.job_effect_failed(turn, no, id, Cause::Container)
            }
            Outcome::Failed(Failure::Unavailable { .. }) => {
                let running = self
                    .jobs
                    .get(no)
                    .is_some_and(|job| matches!(job.stage, Stage::Running { .. }));
                let (bound, cause) = if running {
                    (attempts_max, Cause::Container)
                } else {
                    (READ_ATTEMPTS_MAX, Cause::ChainUnavailable)
                };
                if self.retry(id, bound) {
                    return Ok(());
                }
                self.job_effect_failed(turn, no, id, cause)
            }
            Outcome::Failed(Failure::NotRerun) => {
                self.job_effect_failed(turn, no, id, Cause::NotRerun)
            }
            Outcome::Failed(Failure::Missing { .. }) => {
                self.job_effect_failed(turn, no, id, Cause::PayloadMissing)
            }
            Outcome::Failed(Failure::Reverted { .. } | Failure::Rejected(_)) => {
                self.job_effect_failed(turn, no, id, Cause::Mismatched)
            }
            Outcome::Unknown { .. } => {
                // Looking is not possible at a container: it is asked again where that does no
                // harm, and not where it could.
                if self.forbids_rerun(id) {
                    self.job_effect_failed(turn, no, id, Cause::NotRerun)
                } else if self.retry(id, attempts_max) {
                    Ok(())
                } else {
                    self.job_effect_failed(turn, no, id, Cause::Container)
                }
            }
        }
    }

    fn job_effect_failed(
        &mut self,
        turn: &mut Turn,
        no: JobNo,
        id: EffectId,
        cause: Cause,
    ) -> Result<(), Halt> {
        self.close_effect(id);
        self.fail_job(turn, no, cause)
    }

    fn record_error(&mut self, no: JobNo, turn: &Turn, error: PayloadRef) {
        if let Some(job) = self.jobs.all.get_mut(no) {
            job.error = Some(PayloadAt {
                seq: turn.seq,
                payload: error,
            });
        }
    }

    fn job_effect_succeeded(
        &mut self,
        turn: &mut Turn,
        no: JobNo,
        success: &Success,
    ) -> Result<(), Halt> {
        let Some(job) = self.jobs.all.get_mut(no) else {
            return Ok(());
        };
        job.effect = None;
        let at = |payload: &PayloadRef| PayloadAt {
            seq: turn.seq,
            payload: *payload,
        };
        let last = match job.stage {
            Stage::Running { position } => {
                usize::from(position).saturating_add(1) >= job.containers.len()
            }
            Stage::Waiting
            | Stage::ReadingPayer
            | Stage::ReadingInputs
            | Stage::Delivering
            | Stage::Included
            | Stage::Succeeded
            | Stage::Failed(_) => false,
        };
        let delegated = matches!(job.work, Work::Delegated { .. });
        let onchain = delegated || matches!(job.work, Work::Interval { .. });
        match (job.stage, success) {
            (
                Stage::ReadingPayer,
                Success::PayerRead {
                    valid,
                    balance,
                    allowance,
                },
            ) => {
                let price = self
                    .job_terms(no)
                    .map(|terms| terms.payment_amount)
                    .unwrap_or_default();
                match admission::admit_payer(price, *valid, *balance, *allowance) {
                    Ok(()) if delegated => {
                        self.step_job(no, Step::PayerReadDelegated);
                        self.run_container(turn, no)
                    }
                    Ok(()) => {
                        self.step_job(no, Step::PayerRead);
                        self.read_inputs(turn, no)
                    }
                    Err(reason) => self.fail_job(turn, no, Cause::Refused(reason)),
                }
            }
            (Stage::ReadingInputs, Success::InputsRead { input }) => {
                job.input = Some(ContainerInput::Onchain(at(input)));
                self.step_job(no, Step::InputsRead);
                self.run_container(turn, no)
            }
            (Stage::Running { .. }, Success::ContainerAnswered { output }) if !last => {
                job.keep_result(at(output));
                self.step_job(no, Step::Answered);
                self.run_container(turn, no)
            }
            (Stage::Running { .. }, Success::ContainerAnswered { output }) if !onchain => {
                job.keep_result(at(output));
                self.step_job(no, Step::AnsweredClient);
                self.close_job(no);
                Ok(())
            }
            (
                Stage::Running { .. },
                Success::ContainerAnsweredOnchain {
                    output,
                    deliver_input,
                    deliver_output,
                    deliver_proof,
                },
            ) if last && onchain => {
                job.keep_result(at(output));
                let arguments = Arguments {
                    input: at(deliver_input),
                    output: at(deliver_output),
                    proof: at(deliver_proof),
                };
                self.step_job(no, Step::AnsweredInterval);
                self.plan_delivery(turn, no, arguments)
            }
            (
                Stage::Waiting
                | Stage::ReadingPayer
                | Stage::ReadingInputs
                | Stage::Running { .. }
                | Stage::Delivering
                | Stage::Included
                | Stage::Succeeded
                | Stage::Failed(_),
                Success::InputsRead { .. }
                | Success::PayerRead { .. }
                | Success::ResponsesRead { .. }
                | Success::ContainerAnswered { .. }
                | Success::ContainerAnsweredOnchain { .. }
                | Success::Simulated { .. }
                | Success::Signed { .. }
                | Success::Broadcast
                | Success::LookedUp(_),
            ) => self.fail_job(turn, no, Cause::Mismatched),
        }
    }
}
