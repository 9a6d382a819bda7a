//! The life cycle of an inference: setup, then for each request preprocess, run, postprocess
//! (`docs/spec/services.md` section 7).

use std::future::Future;

/// The steps of a service's work.
pub trait Workflow: Send + Sync + 'static {
    /// What is asked.
    type Request: Send;
    /// What the model takes.
    type Prepared: Send;
    /// What the model gives.
    type Raw: Send;
    /// What is answered.
    type Answer: Send;
    /// Why a step failed.
    type Error: Send;

    /// Makes the workflow able to answer, for example by loading a default model.
    fn setup(&self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Turns a request into the model's input.
    fn preprocess(
        &self,
        request: Self::Request,
    ) -> impl Future<Output = Result<Self::Prepared, Self::Error>> + Send;

    /// Runs the model. Long computations belong on a blocking thread.
    fn run(
        &self,
        prepared: Self::Prepared,
    ) -> impl Future<Output = Result<Self::Raw, Self::Error>> + Send;

    /// Turns the model's output into the answer.
    fn postprocess(
        &self,
        raw: Self::Raw,
    ) -> impl Future<Output = Result<Self::Answer, Self::Error>> + Send;
}

/// A workflow that has been set up. Only such a one infers, so inference before setup cannot be
/// written.
#[derive(Debug)]
pub struct Ready<W>(W);

impl<W: Workflow> Ready<W> {
    /// Sets `workflow` up.
    ///
    /// # Errors
    /// Whatever [`Workflow::setup`] reports.
    pub async fn setup(workflow: W) -> Result<Self, W::Error> {
        workflow.setup().await?;
        Ok(Self(workflow))
    }

    /// One inference: preprocess, run, postprocess.
    ///
    /// # Errors
    /// That of the step that failed.
    pub async fn infer(&self, request: W::Request) -> Result<W::Answer, W::Error> {
        let prepared = self.0.preprocess(request).await?;
        let raw = self.0.run(prepared).await?;
        self.0.postprocess(raw).await
    }

    /// The workflow itself.
    pub fn workflow(&self) -> &W {
        &self.0
    }
}
