//! Jobs that ran elsewhere, as clients report them.

use alloc::{string::String, vec::Vec};

use super::{Cause, Job, Stage, Step, Work};
use crate::{
    config::ClientId,
    event::ReportedStatus,
    machine::{Halt, Machine},
    outbox::Turn,
    types::{JobId, PayloadAt, PayloadRef},
};

impl Machine {
    /// `JobReported`: what ran elsewhere is recorded, and may be reported again until it is final.
    pub(crate) fn job_reported(
        &mut self,
        turn: &mut Turn,
        id: JobId,
        client: ClientId,
        status: ReportedStatus,
        containers: &[String],
        result: Option<PayloadRef>,
    ) -> Result<(), Halt> {
        let result = result.map(|payload| PayloadAt {
            seq: turn.seq,
            payload,
        });
        let no = match self.jobs.by_id(id) {
            Some((no, job)) => {
                if !matches!(job.work, Work::Reported { .. }) || job.stage.is_end() {
                    return Ok(());
                }
                no
            }
            None => {
                let no = self.jobs.insert(Job {
                    work: Work::Reported { job: id, client },
                    containers: containers.to_vec(),
                    requires_proof: false,
                    input: None,
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
                no
            }
        };
        match status {
            ReportedStatus::Running => Ok(()),
            ReportedStatus::Success => {
                if let Some(job) = self.jobs.all.get_mut(no) {
                    job.results.extend(result);
                }
                self.step_job(no, Step::AnsweredClient);
                self.close_job(no);
                Ok(())
            }
            ReportedStatus::Failed => {
                if let Some(job) = self.jobs.all.get_mut(no) {
                    job.error = result;
                }
                self.fail_job(turn, no, Cause::Reported)
            }
        }
    }
}
