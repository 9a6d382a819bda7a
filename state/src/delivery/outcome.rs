//! What came of a simulation: the guards before a nonce is given, and batches.

use alloc::vec::Vec;

use super::{
    INSUFFICIENT_ALLOWANCE, INTERVAL_COMPLETED, Loss, Move, is_met, plan::ITEMS_BYTES_MAX,
};
use crate::{
    admission,
    effect::Effect,
    event::{Outcome, Success},
    limits::{READ_ATTEMPTS_MAX, REVERTED_SIMULATIONS_MAX, UNPROFITABLE_WAITS_MAX},
    machine::{Halt, Machine},
    outbox::Turn,
    simulation::Simulation,
    transaction::{Quote, Use},
    types::{Amount, DeliveryNo, EffectId, SubscriptionId},
};

impl Machine {
    /// What came of a simulation before sending.
    pub(crate) fn delivery_effect_ended(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        if let Outcome::Succeeded(Success::ResponsesRead {
            responses,
            responded,
        }) = outcome
        {
            self.close_effect(id);
            return self.responses_read(turn, no, *responses, *responded);
        }
        if let Outcome::Succeeded(Success::PayerRead { allowance, .. }) = outcome {
            self.close_effect(id);
            return self.allowance_read(turn, no, *allowance);
        }
        match outcome.into() {
            Simulation::Good {
                gas,
                base_fee,
                priority_fee,
            } => {
                self.close_effect(id);
                self.simulated(turn, no, gas, base_fee, priority_fee)
            }
            Simulation::Reverts(selector) => {
                self.close_effect(id);
                self.simulation_reverted(turn, no, selector)
            }
            Simulation::Missing => {
                self.close_effect(id);
                self.abandon(turn, no, Loss::PayloadMissing)
            }
            Simulation::Unclear => {
                if self.retry(id, READ_ATTEMPTS_MAX) {
                    return Ok(());
                }
                self.abandon(turn, no, Loss::Unavailable)
            }
        }
    }

    /// The call would succeed: guard its cost, look at the interval once more, and give it a
    /// nonce.
    fn simulated(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        gas: u64,
        base_fee: u128,
        priority_fee: u128,
    ) -> Result<(), Halt> {
        if let Some(delivery) = self.deliveries.all.get_mut(no) {
            delivery.effect = None;
            delivery.refusals = 0;
        }
        if !self.settle_chance(turn, no)? {
            return Ok(());
        }
        let (Some(chain), Some(delivery)) = (self.chain_config(), self.deliveries.get(no)) else {
            return self.abandon(turn, no, Loss::Unconfigured);
        };
        if gas > chain.gas_limit_max {
            return self.abandon(turn, no, Loss::TooMuchGas);
        }
        let batches =
            chain.delivery_batch_max > 1 && delivery.delegation.is_none() && !delivery.alone;
        if !self.is_worth(no, gas, base_fee.saturating_add(priority_fee)) {
            if delivery.waits >= UNPROFITABLE_WAITS_MAX {
                return self.abandon(turn, no, Loss::Unprofitable);
            }
            self.wait_longer(no);
            return Ok(());
        }
        if !self.account.may_send() {
            self.move_delivery(no, Move::Wait);
            self.deliveries.blocked.insert(no);
            return Ok(());
        }
        let Some(quote) = self.quote(gas, base_fee, priority_fee) else {
            // Dearer than allowed: later, while the interval lasts.
            self.wait_longer(no);
            return Ok(());
        };
        if let Some(delivery) = self.deliveries.all.get_mut(no) {
            delivery.waits = 0;
        }
        if batches && self.account.in_hand > 0 {
            self.move_delivery(no, Move::Queue);
            self.deliveries.ready.insert(no, quote);
            return Ok(());
        }
        let nonce = self.open_slot(turn, Use::Deliver(no.into()), quote)?;
        self.move_delivery(no, Move::Send(nonce));
        Ok(())
    }

    /// The profit guard: whether a delivery is worth so much gas, at a price per gas in wei.
    pub(crate) fn is_worth(&self, no: DeliveryNo, gas: u64, price: u128) -> bool {
        let delivery = self.deliveries.get(no);
        let terms = delivery.and_then(|delivery| self.terms_of(delivery));
        let (Some(config), Some(terms)) = (self.config.as_ref(), terms) else {
            return true;
        };
        let cost = Amount::of_gas(gas, price);
        admission::profitable(config, terms.payment_token, terms.payment_amount, cost)
    }

    /// Sends what became ready while a transaction was in hand: as one batch, as far as it fits.
    /// The contract shares the gas out evenly over the deliveries still to come, and what one
    /// leaves goes to the later ones: so the heavy ones come last.
    pub(crate) fn flush_ready(&mut self, turn: &mut Turn) -> Result<(), Halt> {
        while !self.deliveries.ready.is_empty()
            && self.account.may_send()
            && self.account.in_hand == 0
        {
            let Some(chain) = self.chain_config() else {
                return Ok(());
            };
            let count_max = usize::from(chain.delivery_batch_max).max(1);
            let gas_max = chain.gas_limit_max;
            let mut batch = Vec::new();
            let mut total = Quote::default();
            let mut bytes = 0_u64;
            while let Some((no, quote)) = self.deliveries.first_ready() {
                let gas = total.gas_limit.saturating_add(quote.gas_limit);
                let item = self.transaction_bytes(no);
                let full = gas > gas_max || bytes.saturating_add(item) > ITEMS_BYTES_MAX;
                if batch.len() >= count_max || (full && !batch.is_empty()) {
                    break;
                }
                self.deliveries.ready.remove(&no);
                if !self.settle_chance(turn, no)? {
                    continue;
                }
                bytes = bytes.saturating_add(item);
                batch.push((quote.gas_limit, no));
                total = Quote {
                    gas_limit: gas,
                    max_fee_per_gas: total.max_fee_per_gas.max(quote.max_fee_per_gas),
                    max_priority_fee_per_gas: total
                        .max_priority_fee_per_gas
                        .max(quote.max_priority_fee_per_gas),
                };
            }
            if batch.is_empty() {
                return Ok(());
            }
            batch.sort_unstable();
            let batch: Vec<DeliveryNo> = batch.into_iter().map(|(_, no)| no).collect();
            let nonce = self.open_slot(turn, Use::Deliver(batch.clone().into()), total)?;
            for no in batch {
                self.move_delivery(no, Move::Send(nonce));
            }
        }
        Ok(())
    }

    /// The call would revert. A transient cause (a balance, an allowance, a lagging head, a block
    /// that this node never followed) may pass, and it is tried a bounded number of times. Where it
    /// lacks an allowance that the facts tell of, that is read, since it may be the payer's as well.
    /// Where the interval is said to be met until the end, although its facts did not come, its
    /// responses are read: before that, what is true would have been told by the facts.
    fn simulation_reverted(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        selector: [u8; 4],
    ) -> Result<(), Halt> {
        let Some(delivery) = self.deliveries.all.get_mut(no) else {
            return Ok(());
        };
        delivery.effect = None;
        if let Some((token, _)) = self.chores.stakes.get(&no)
            && self.chores.allowance(*token) < self.chores.wanted(*token)
        {
            // Its allowance went with a reorg meanwhile: no refusal, a wait.
            self.move_delivery(no, Move::Wait);
            return self.attempt_delivery(turn, no);
        }
        if is_met(selector) && !self.settle_chance(turn, no)? {
            return Ok(()); // The facts say so as well.
        }
        let Some(delivery) = self.deliveries.all.get_mut(no) else {
            return Ok(());
        };
        delivery.refusals = delivery.refusals.saturating_add(1);
        let (refusals, interval) = (delivery.refusals, delivery.interval);
        let id = self
            .deliveries
            .get(no)
            .map(|delivery| self.chain_id_of(delivery))
            .unwrap_or_default();
        if refusals >= REVERTED_SIMULATIONS_MAX {
            if let (true, REVERTED_SIMULATIONS_MAX, 1.., Some(chain)) =
                (is_met(selector), refusals, id.0, self.chain_config())
            {
                let effect = Effect::ReadResponses {
                    subscription: id,
                    interval,
                    node: chain.node,
                };
                return self.wait_for(turn, no, effect);
            }
            return self.abandon(turn, no, Loss::Reverts(selector));
        }
        let staked = self.chores.stakes.get(&no).map(|(token, _)| *token);
        let wallet = self.chain_config().and_then(|chain| {
            let wallet = chain.payment_wallet?;
            Some((wallet, chain.node))
        });
        if let (INSUFFICIENT_ALLOWANCE, Some(token), Some((wallet, spender))) =
            (selector, staked, wallet)
        {
            let effect = Effect::ReadPayer {
                subscription: SubscriptionId(0),
                wallet,
                spender,
                token,
            };
            return self.wait_for(turn, no, effect);
        }
        self.replan_later(no);
        Ok(())
    }

    /// The chain's own word on what the node's account may lock for a stake: where it is less than
    /// was known, another approval is asked for. Each costs a refusal, so they are bounded.
    fn allowance_read(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        allowance: Amount,
    ) -> Result<(), Halt> {
        if let Some(delivery) = self.deliveries.all.get_mut(no) {
            delivery.effect = None;
        }
        self.replan_later(no);
        let staked = self.chores.stakes.get(&no).map(|(token, _)| *token);
        match (staked, self.chain.head) {
            (Some(token), Some(head)) if allowance < self.chores.allowance(token) => {
                self.set_allowance(turn, &head, token, allowance)
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// The chain's own word on an interval that every simulation found met.
    fn responses_read(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        responses: u16,
        responded: bool,
    ) -> Result<(), Halt> {
        let Some(delivery) = self.deliveries.all.get_mut(no) else {
            return Ok(());
        };
        delivery.effect = None;
        let redundancy = self
            .deliveries
            .get(no)
            .and_then(|delivery| self.terms_of(delivery))
            .map_or(0, |terms| terms.redundancy);
        let loss = if responded || responses == redundancy {
            Loss::Met
        } else {
            Loss::Reverts(INTERVAL_COMPLETED)
        };
        self.abandon(turn, no, loss)
    }
}
