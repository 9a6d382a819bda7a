//! What the machine asks for, carried out in the EVM.

use infernet_contracts::{
    calldata,
    convert::{from_u256, interval_key, node_key, to_address, to_b256, to_u256},
};
use infernet_state::{
    Effect, Issued,
    config::Limits,
    effect::{Action as Act, Delivery, Location},
    event::{self, Failure, Outcome, Rejection, Success},
    types::{self, Amount, Hash, PayloadAt},
};
use revm::primitives::{Address, U256, keccak256};

use super::{INCLUSION_S, Node, Of, Seen, Signed, differ, origins::input_of};
use crate::{
    abi::{Coordinator, Message, Wallet},
    evm::Execution,
    model::{Answer, BatchItem, Call, Delegated, Subscription},
    twin::Mismatch,
};

/// Wei per gas of the head.
const BASE_FEE: u128 = 2;

fn succeeded(success: Success) -> Option<Outcome> {
    Some(Outcome::Succeeded(success))
}

/// What a simulation of an action is known by, item by item.
fn parts(act: &Act) -> Vec<Of> {
    let of = |delivery: &Delivery| Of::Delivery(delivery.subscription, delivery.interval);
    match act {
        Act::Deliver(delivery) => vec![of(delivery)],
        Act::DeliverBatch(deliveries) => deliveries.iter().map(of).collect(),
        Act::DeliverDelegated {
            subscription,
            nonce,
            delivery,
            ..
        } => vec![Of::Delegated(subscription.owner, *nonce, delivery.interval)],
        Act::ApproveStake { token, .. } => vec![Of::Stake(*token)],
        Act::FinalizeProof {
            subscription,
            interval,
            ..
        } => vec![Of::Finalize(*subscription, *interval)],
        Act::FillNonce => vec![Of::Nothing],
    }
}

fn from_record(record: &event::Subscription) -> Subscription {
    Subscription {
        owner: to_address(record.owner),
        active_at: record.active_at,
        period: record.period,
        frequency: record.frequency,
        redundancy: record.redundancy,
        container_id: to_b256(record.container_id),
        lazy: record.lazy,
        verifier: to_address(record.verifier),
        payment_amount: to_u256(record.payment_amount),
        payment_token: to_address(record.payment_token),
        wallet: to_address(record.wallet),
    }
}

impl Node {
    /// Carries out an effect; `None` where nothing comes of it, or nobody waits for it any more.
    pub(super) fn carry_out(&mut self, issued: &Issued) -> Result<Option<Outcome>, Mismatch> {
        if matches!(issued.effect, Effect::StopContainer { .. })
            || self.machine.effect(issued.id).is_none()
        {
            return Ok(None);
        }
        if matches!(issued.effect, Effect::RunContainer(_)) {
            self.check_attempts(issued)?;
        }
        if let Some(outcome) = self.mishap(issued) {
            return Ok(Some(outcome));
        }
        Ok(match &issued.effect {
            Effect::StopContainer { .. } => None,
            Effect::ReadInputs { .. } => {
                let of = self.asked_for.get(&issued.id).copied().flatten();
                let input = self.payload(format!("inputs of {of:?}").as_bytes());
                self.origins.extend(of.map(|of| (input.hash, of)));
                succeeded(Success::InputsRead { input })
            }
            Effect::ReadPayer {
                subscription,
                wallet,
                spender,
                token,
            } => {
                let (wallet, token) = (to_address(*wallet), to_address(*token));
                succeeded(self.read_payer(subscription.0, wallet, to_address(*spender), token))
            }
            Effect::ReadResponses {
                subscription,
                interval,
                node,
            } => {
                let at = self.twin.model.deployment().coordinator;
                let count = Coordinator::redundancyCountCall {
                    key: interval_key(subscription.0, interval.0),
                };
                let responded = Coordinator::nodeRespondedCall {
                    key: node_key(subscription.0, interval.0, *node),
                };
                self.happened.count("responses were read");
                succeeded(Success::ResponsesRead {
                    responses: self.twin.world.read(at, &count).unwrap_or_default(),
                    responded: self.twin.world.read(at, &responded).unwrap_or_default(),
                })
            }
            Effect::RunContainer(call) => {
                let input = input_of(call);
                let mut computed = |what: &str| {
                    let answer = format!("{what} of {} to {}", call.container, input.hash);
                    let payload = self.payload(answer.as_bytes());
                    let of = self.origins.get(&input.hash).copied();
                    self.origins.extend(of.map(|of| (payload.hash, of)));
                    payload
                };
                succeeded(match call.destination {
                    Location::Onchain => Success::ContainerAnsweredOnchain {
                        output: computed("the answer"),
                        deliver_input: computed("the input"),
                        deliver_output: computed("the output"),
                        deliver_proof: computed("the proof"),
                    },
                    Location::Offchain | Location::Stream => Success::ContainerAnswered {
                        output: computed("the answer"),
                    },
                })
            }
            Effect::Simulate { action, at, .. } => Some(self.simulate(action, at.0)),
            Effect::Sign {
                nonce,
                action,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                ..
            } => {
                let fields = format!(
                    "{nonce} {action:?} {gas_limit} {max_fee_per_gas} {max_priority_fee_per_gas}"
                );
                let tx = Hash(keccak256(fields.as_bytes()).0);
                let signed = Signed {
                    tx,
                    act: action.clone(),
                    promised: 0,
                };
                self.signed.insert(tx, signed);
                let raw = self.payload(fields.as_bytes());
                succeeded(Success::Signed { tx, raw })
            }
            Effect::Broadcast { tx, nonce, .. } => Some(self.broadcast(*tx, nonce.0)?),
            Effect::LookUpTransaction { nonce, tx } => {
                self.happened.count("a transaction was looked up");
                succeeded(Success::LookedUp(self.looked_up(nonce.0, *tx)))
            }
        })
    }

    /// What a subscription can be paid from: nothing that is locked for others, and what is locked for it
    /// whatever its owner's allowance.
    fn read_payer(
        &mut self,
        id: u32,
        wallet: Address,
        spender: Address,
        token: Address,
    ) -> Success {
        let valid = self.is_valid(wallet);
        if !valid {
            return Success::PayerRead {
                valid,
                balance: Amount::ZERO,
                allowance: Amount::ZERO,
            };
        }
        let world = &mut self.twin.world;
        let allowance = world.read(wallet, &Wallet::allowanceCall { spender, token });
        let locked = world.read(wallet, &Wallet::lockedBalanceCall { token });
        let payments = world.read(
            self.twin.model.deployment().coordinator,
            &Coordinator::reservedPaymentsCall { subscriptionId: id },
        );
        let price = self
            .twin
            .model
            .subscription(id)
            .map(|sub| sub.payment_amount);
        let reserve = payments.unwrap_or_default() * price.unwrap_or_default();
        let balance = self.held(wallet, token).saturating_add(reserve);
        Success::PayerRead {
            valid,
            balance: from_u256(balance.saturating_sub(locked.unwrap_or_default())),
            allowance: from_u256(allowance.unwrap_or_default().saturating_add(reserve)),
        }
    }

    fn fetch(&self, at: PayloadAt) -> Result<Vec<u8>, Mismatch> {
        self.payloads
            .get(&at.payload.hash)
            .cloned()
            .ok_or_else(|| differ("a payload", format!("{at:?}"), "nobody stored it"))
    }

    fn simulate(&mut self, act: &Act, at: u64) -> Outcome {
        let coordinator = types::Address(self.twin.model.deployment().coordinator.into_array());
        let call = calldata::build(act, self.account, coordinator, |at| self.fetch(at));
        let call = match call {
            Ok(call) => call,
            Err(missing) => {
                let reason = missing.to_string();
                return Outcome::Failed(Failure::Missing { reason });
            }
        };
        let message = Message {
            to: call.to,
            value: U256::ZERO,
            data: call.data,
        };
        let time = at.max(self.twin.model.time());
        let reverted = |selector| {
            let reason = "reverted".into();
            Outcome::Failed(Failure::Reverted { selector, reason })
        };
        match self.twin.world.simulate(self.account, &message, time) {
            Execution::Done { returned, gas, .. } => {
                if let Act::DeliverBatch(items) = act
                    && calldata::failing_item(&returned, items.len()).is_some()
                {
                    return reverted([0; 4]);
                }
                for part in parts(act) {
                    self.simulated.insert(part, self.seen);
                }
                Outcome::Succeeded(Success::Simulated {
                    gas,
                    base_fee: BASE_FEE,
                    priority_fee: 1,
                })
            }
            Execution::Reverted(data) => {
                self.happened.count("a simulation reverted");
                reverted(data.first_chunk::<4>().copied().unwrap_or_default())
            }
            Execution::Failed(_) => reverted([0; 4]),
        }
    }

    fn broadcast(&mut self, tx: Hash, nonce: u64) -> Result<Outcome, Mismatch> {
        let Some(mut signed) = self.signed.get(&tx).cloned() else {
            return Err(differ("a broadcast", format!("{tx}"), "nobody signed it"));
        };
        if self.so_far.included.get(&nonce) == Some(&tx) {
            self.happened.count("what a block holds was sent again");
            return Ok(Outcome::Succeeded(Success::Broadcast));
        }
        if nonce < self.so_far.nonce {
            self.happened.count("a nonce was too low");
            return Ok(Outcome::Failed(Failure::Rejected(Rejection::NonceTooLow)));
        }
        // By what the machine knows: it cannot see what a lagging RPC does not show.
        let head = self.followed.last().map_or(0, |block| block.time.0);
        signed.promised = head + INCLUSION_S;
        Ok(self.send(nonce, signed))
    }

    /// A transaction of the machine is included. It succeeds, unless something came in between.
    pub(super) fn include(&mut self, signed: &Signed) -> Result<(), Mismatch> {
        let call = self.call_of(&signed.act)?;
        let coordinator = types::Address(self.twin.model.deployment().coordinator.into_array());
        let data = calldata::build(&signed.act, self.account, coordinator, |at| self.fetch(at))?;
        let message = call.message(self.twin.model.deployment());
        if (message.to, &message.data) != (data.to, &data.data) {
            let what = format!("the bytes of {call:?}");
            return Err(differ(what, format!("{data:?}"), format!("{message:?}")));
        }
        let first = parts(&signed.act)
            .iter()
            .filter_map(|part| self.simulated.get(part).copied())
            .min();
        let before = self.seen;
        let late = self.twin.model.time() > signed.promised;
        let done = self.run(self.account, &call, Some(signed.tx), None)?;
        let excuse = match first {
            Some(Seen { others, .. }) if others < before.others => Some("others came first"),
            Some(Seen { own, .. }) if own < before.own => Some("another of its own came first"),
            Some(_) | None if late => Some("the block came late"),
            Some(_) | None => None,
        };
        self.count_inclusion(&signed.act, done, excuse);
        self.note_answers(&signed.act);
        self.check_reverts(&signed.act, done)?;
        if !done && excuse.is_none() {
            let end = format!("{:?}", self.twin.last_execution());
            let what = format!("the end of {call:?}, as it was simulated");
            return Err(differ(what, "succeeds", end));
        }
        Ok(())
    }

    /// For whom what was just delivered had been computed.
    fn note_answers(&mut self, act: &Act) {
        let deliveries = match act {
            Act::Deliver(delivery) => std::slice::from_ref(delivery),
            Act::DeliverBatch(deliveries) => deliveries,
            Act::DeliverDelegated { .. }
            | Act::ApproveStake { .. }
            | Act::FinalizeProof { .. }
            | Act::FillNonce => &[],
        };
        for delivery in deliveries {
            let key = (delivery.subscription.0, delivery.interval.0);
            if self.so_far.delivered.contains(&key)
                && let Some(origin) = self.origins.get(&delivery.output.payload.hash)
            {
                self.so_far.answers.entry(key).or_insert(*origin);
            }
        }
    }

    /// Deliveries revert as often as allowed, and where the chain went another way once more each time.
    fn check_reverts(&mut self, act: &Act, done: bool) -> Result<(), Mismatch> {
        let Act::Deliver(delivery) = act else {
            return Ok(());
        };
        let key = (delivery.subscription.0, delivery.interval.0);
        let reverts = self.so_far.reverts.entry(key).or_default();
        *reverts += u64::from(!done);
        let most = u64::from(Limits::default().delivery_attempts_max) * (self.forks + 1);
        if *reverts <= most {
            return Ok(());
        }
        let found = format!("{reverts} in blocks");
        Err(differ(
            format!("the reverts of {act:?}"),
            found,
            format!("at most {most}"),
        ))
    }

    fn count_inclusion(&mut self, act: &Act, done: bool, excuse: Option<&'static str>) {
        let what = match (act, done) {
            (Act::Deliver(_), true) => "delivered alone",
            (Act::DeliverBatch(_), true) => "a batch was included",
            (Act::DeliverDelegated { .. }, true) => "delivered with its delegation",
            (Act::ApproveStake { .. }, true) => "a stake was approved",
            (Act::FinalizeProof { .. }, true) => "the node finalised a proof itself",
            (Act::FillNonce, true) => "a nonce was used up",
            (_, false) => "a transaction of the machine reverted",
        };
        self.happened.count(what);
        if let (false, Some(excuse)) = (done, excuse) {
            self.happened.count(excuse);
        }
    }

    fn answer(&self, delivery: &Delivery) -> Result<Answer, Mismatch> {
        Ok(Answer {
            input: self.fetch(delivery.input)?.into(),
            output: self.fetch(delivery.output)?.into(),
            proof: self.fetch(delivery.proof)?.into(),
        })
    }

    /// The model's word for what a transaction of the machine does.
    fn call_of(&self, act: &Act) -> Result<Call, Mismatch> {
        Ok(match act {
            Act::Deliver(delivery) => Call::DeliverCompute {
                id: delivery.subscription.0,
                interval: delivery.interval.0,
                answer: self.answer(delivery)?,
                node_wallet: to_address(delivery.node_wallet),
            },
            Act::DeliverBatch(deliveries) => {
                let item = |delivery: &Delivery| {
                    Ok(BatchItem {
                        id: delivery.subscription.0,
                        interval: delivery.interval.0,
                        answer: self.answer(delivery)?,
                        node_wallet: to_address(delivery.node_wallet),
                    })
                };
                Call::DeliverBatch(
                    deliveries
                        .iter()
                        .map(item)
                        .collect::<Result<_, Mismatch>>()?,
                )
            }
            Act::DeliverDelegated {
                subscription,
                nonce,
                expiry,
                v,
                r,
                s,
                delivery,
            } => Call::DeliverDelegated {
                delegated: Delegated {
                    nonce: *nonce,
                    expiry: *expiry,
                    subscription: from_record(subscription),
                    v: *v,
                    r: U256::from_be_bytes(r.0),
                    s: U256::from_be_bytes(s.0),
                },
                interval: delivery.interval.0,
                answer: self.answer(delivery)?,
                node_wallet: to_address(delivery.node_wallet),
            },
            Act::ApproveStake {
                wallet,
                spender,
                token,
                amount,
            } => Call::Approve {
                wallet: to_address(*wallet),
                spender: to_address(*spender),
                token: to_address(*token),
                amount: to_u256(*amount),
            },
            Act::FinalizeProof {
                subscription,
                interval,
                node,
            } => Call::FinalizeProof {
                id: subscription.0,
                interval: interval.0,
                node: to_address(*node),
                valid: true,
            },
            Act::FillNonce => Call::SendCoin {
                to: self.account,
                amount: U256::ZERO,
            },
        })
    }
}
