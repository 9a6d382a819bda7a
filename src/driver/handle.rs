//! How the rest of the node speaks to the loop.

use std::sync::{Arc, RwLock};

use infernet_state::{
    Event, Machine,
    codec::CodecError,
    machine::Refusal,
    types::{JobId, Seq},
};
use tokio::sync::{mpsc, oneshot, watch};

use super::Alarms;
use crate::log::Payload;

/// What a client's request came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Durable and applied.
    Recorded(Recorded),
    /// Already recorded under this job.
    Known(JobId),
    /// Refused; nothing was recorded.
    Refused(Refusal),
    /// The event does not fit the log; nothing was recorded.
    TooLarge(String),
    /// There is no room for new work; nothing was recorded. [`Handle::alarms`] says why.
    NoRoom,
}

/// Where an event went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// Its position.
    pub seq: Seq,
}

/// The loop takes no more right now; ask again in a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("E-DRIVER-001: the node is busy; try again in a moment")]
pub struct Busy;

/// The loop has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("E-DRIVER-002: the node is stopping")]
pub struct Stopped;

/// An event on its way to the log.
pub(super) struct Submission {
    event: Event,
    /// Facts that become durable with `event` or not at all, applied right behind it.
    more: Vec<Event>,
    payloads: Vec<Payload>,
    judged: bool,
    reply: Option<oneshot::Sender<Reply>>,
}

impl Submission {
    /// A fact of the loop's own, that nobody waits for.
    pub(super) fn silent(event: Event) -> Self {
        Self {
            event,
            more: Vec::new(),
            payloads: Vec::new(),
            judged: false,
            reply: None,
        }
    }

    pub(super) fn event(&self) -> &Event {
        &self.event
    }

    /// All its events, in order.
    pub(super) fn events(&self) -> impl Iterator<Item = &Event> {
        std::iter::once(&self.event).chain(&self.more)
    }

    pub(super) fn is_request(&self) -> bool {
        self.judged
    }

    /// Whether it is a request that work comes of.
    pub(super) fn brings_work(&self) -> bool {
        self.judged
            && matches!(
                self.event,
                Event::JobAccepted(_) | Event::DelegatedAccepted(_) | Event::JobReported { .. }
            )
    }

    pub(super) fn payload_bytes(&self) -> usize {
        self.payloads
            .iter()
            .map(|payload| payload.bytes.len())
            .sum()
    }

    pub(super) fn take_payloads(mut self) -> (Self, Vec<Payload>) {
        let payloads = std::mem::take(&mut self.payloads);
        (self, payloads)
    }

    pub(super) fn refuse_encoding(self, error: &CodecError) {
        self.answer(Reply::TooLarge(error.to_string()));
    }

    /// A sender that no longer waits is none of the loop's business.
    pub(super) fn answer(self, reply: Reply) {
        if let Some(sender) = self.reply {
            let _ = sender.send(reply);
        }
    }
}

/// Speaks to the loop and looks at the machine. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inbox: mpsc::Sender<Submission>,
    machine: Arc<RwLock<Machine>>,
    head: watch::Receiver<Seq>,
    alarms: watch::Sender<Alarms>,
}

impl Handle {
    pub(super) fn new(
        inbox: mpsc::Sender<Submission>,
        machine: Arc<RwLock<Machine>>,
        head: watch::Receiver<Seq>,
        alarms: watch::Sender<Alarms>,
    ) -> Self {
        Self {
            inbox,
            machine,
            head,
            alarms,
        }
    }

    /// Submits what a client asks for: judged first, and never waiting for room.
    ///
    /// # Durability
    /// On [`Reply::Recorded`] event and payloads are durable and applied.
    ///
    /// # Errors
    /// [`Busy`] when too much waits already, or the loop has ended.
    pub async fn request(&self, event: Event, payloads: Vec<Payload>) -> Result<Reply, Busy> {
        let (reply, answer) = oneshot::channel();
        self.inbox
            .try_send(Submission {
                event,
                more: Vec::new(),
                payloads,
                judged: true,
                reply: Some(reply),
            })
            .map_err(|_| Busy)?;
        answer.await.map_err(|_| Busy)
    }

    /// Submits a fact of one of the node's own observers, waiting for room and durability.
    ///
    /// # Durability
    /// When it returns, event and payloads are durable and applied.
    ///
    /// # Errors
    /// [`Stopped`] when the loop has ended; the fact may or may not be in the log.
    pub async fn observe(&self, event: Event, payloads: Vec<Payload>) -> Result<Seq, Stopped> {
        self.observe_with(event, Vec::new(), payloads).await
    }

    /// Submits several facts of one observer as one atomic step: a fact too large for one event.
    ///
    /// # Durability
    /// When it returns, all are durable and applied, in order; after a crash all are there, or
    /// none.
    ///
    /// # Errors
    /// [`Stopped`] when the loop has ended.
    pub async fn observe_all(&self, events: Vec<Event>) -> Result<(), Stopped> {
        let mut events = events.into_iter();
        match events.next() {
            Some(first) => self
                .observe_with(first, events.collect(), Vec::new())
                .await
                .map(|_| ()),
            None => Ok(()),
        }
    }

    async fn observe_with(
        &self,
        event: Event,
        more: Vec<Event>,
        payloads: Vec<Payload>,
    ) -> Result<Seq, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.inbox
            .send(Submission {
                event,
                more,
                payloads,
                judged: false,
                reply: Some(reply),
            })
            .await
            .map_err(|_| Stopped)?;
        match answer.await {
            Ok(Reply::Recorded(recorded)) => Ok(recorded.seq),
            Ok(Reply::Known(_) | Reply::Refused(_) | Reply::TooLarge(_) | Reply::NoRoom)
            | Err(_) => Err(Stopped),
        }
    }

    /// Looks at the machine; everything seen is durable. Keep `look` short: the loop waits.
    pub fn view<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        look(&self.machine.read().unwrap_or_else(|held| held.into_inner()))
    }

    /// The position of the newest applied event, as it moves.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Seq> {
        self.head.clone()
    }

    /// What an operator must know.
    #[must_use]
    pub fn alarms(&self) -> Alarms {
        self.alarms.borrow().clone()
    }

    /// Says why the mirror does not follow the log, or that it does.
    pub(crate) fn alarm_of_mirror(&self, why: Option<&'static str>) {
        self.alarms.send_if_modified(|alarms| {
            let changed = alarms.mirror.as_deref() != why;
            alarms.mirror = why.map(Arc::from);
            changed
        });
    }

    /// Says why the chain cannot be used, or that it can.
    pub(crate) fn alarm_of_chain(&self, why: Option<&str>) {
        self.alarms.send_if_modified(|alarms| {
            let changed = alarms.chain.as_deref() != why;
            alarms.chain = why.map(Arc::from);
            changed
        });
    }

    /// Whether the loop still takes events.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.inbox.is_closed()
    }
}
