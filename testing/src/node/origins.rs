//! For whom an answer was computed, by what it was computed from.
//!
//! Inputs say whose they are: the life of a subscription (its creation's block), or a client's request. An answer is
//! for whom its input was. No delivery may be simulated, signed or sent for anybody else: ids are given anew after a
//! reorg.

use infernet_state::{
    Effect, Event, Issued,
    effect::{Action as Act, ContainerCall, ContainerInput, Delivery},
    event::{ChainFact, Subscription},
    subscription::record_hash,
    types::{Address, Hash, Interval, PayloadRef, SubscriptionId},
};

use super::{Node, differ};
use crate::twin::Mismatch;

/// For whom something was read or computed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Origin {
    /// An interval of the subscription that a block created.
    Interval(SubscriptionId, Hash, Interval),
    /// A client's request.
    Request(Address, u32, Hash),
}

impl Origin {
    pub(super) fn of_request(record: &Subscription, nonce: u32) -> Self {
        Self::Request(record.owner, nonce, record_hash(record))
    }
}

/// What goes into a container.
pub(super) fn input_of(call: &ContainerCall) -> PayloadRef {
    match call.input {
        ContainerInput::Onchain(at) | ContainerInput::Json(at) => at.payload,
    }
}

impl Node {
    /// What the machine is about to be told of creations.
    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::ChainReorged { ancestor } => {
                self.told
                    .retain(|_, (height, _)| *height <= ancestor.number);
            }
            Event::ChainCommitted { block, facts } => {
                for fact in facts {
                    if let ChainFact::SubscriptionCreated { id, .. } = fact {
                        self.told.insert(id.0, (block.number, block.hash));
                    }
                }
            }
            _ => {}
        }
    }

    /// The present life of an id, as the machine was told of it.
    pub(super) fn life_of(&self, id: SubscriptionId, interval: Interval) -> Option<Origin> {
        let (_, block) = self.told.get(&id.0)?;
        Some(Origin::Interval(id, *block, interval))
    }

    /// What the machine asks for is for those whom it was computed for.
    pub(super) fn check_origin(&mut self, issued: &Issued) -> Result<(), Mismatch> {
        match &issued.effect {
            Effect::ReadInputs {
                subscription,
                interval,
                ..
            } => {
                let life = self.life_of(*subscription, *interval);
                // After a restart the same effect is asked for again.
                self.asked_for.entry(issued.id).or_insert(life);
                Ok(())
            }
            Effect::Simulate { action, .. } | Effect::Sign { action, .. } => {
                self.check_action(action)
            }
            Effect::Broadcast { tx, .. } => match self.signed.get(tx).map(|it| it.act.clone()) {
                Some(act) => self.check_action(&act),
                None => Ok(()), // Carrying it out says so.
            },
            Effect::ReadPayer { .. }
            | Effect::ReadResponses { .. }
            | Effect::RunContainer(_)
            | Effect::StopContainer { .. }
            | Effect::LookUpTransaction { .. } => Ok(()),
        }
    }

    fn check_action(&self, act: &Act) -> Result<(), Mismatch> {
        match act {
            Act::Deliver(delivery) => self.check_answer(delivery),
            Act::DeliverBatch(deliveries) => deliveries
                .iter()
                .try_for_each(|delivery| self.check_answer(delivery)),
            Act::DeliverDelegated {
                subscription,
                nonce,
                delivery,
                ..
            } => {
                let wanted = Origin::of_request(subscription, *nonce);
                self.check_origin_of(delivery, Some(wanted))
            }
            Act::ApproveStake { .. } | Act::FinalizeProof { .. } | Act::FillNonce => Ok(()),
        }
    }

    fn check_answer(&self, delivery: &Delivery) -> Result<(), Mismatch> {
        let life = self.life_of(delivery.subscription, delivery.interval);
        self.check_origin_of(delivery, life)
    }

    fn check_origin_of(&self, delivery: &Delivery, wanted: Option<Origin>) -> Result<(), Mismatch> {
        for argument in [delivery.input, delivery.output, delivery.proof] {
            let origin = self.origins.get(&argument.payload.hash).copied();
            if origin.is_none() || origin != wanted {
                return Err(differ(
                    format!(
                        "for whom the answer to ({}, {}) was computed",
                        delivery.subscription, delivery.interval
                    ),
                    format!("delivered to {wanted:?}"),
                    format!("computed for {origin:?}"),
                ));
            }
        }
        Ok(())
    }
}
