//! What the contracts of this project offer beyond the reference (section 13): payments locked ahead, and
//! deliveries in batches.

use revm::primitives::{Address, U256};

use super::{
    BatchItem, Branch, CANCELLED, ContractError, Emitted, Model, Reason, Returned, Revert,
    Subscription, empty, overflow, refuse,
};

/// A batch's result has so many bits.
const BATCH_MAX: usize = 256;

impl Model {
    /// `fundSubscription`.
    pub(super) fn fund_subscription(&mut self, from: Address, id: u32) -> Result<Returned, Revert> {
        self.need_additions()?;
        let Some(sub) = self
            .subscriptions
            .get(&id)
            .filter(|sub| sub.owner == from)
            .cloned()
        else {
            return Err(refuse(
                ContractError::NotSubscriptionOwner,
                Branch::FundNotOwner,
            ));
        };
        let payments = self.due_payments(id, &sub)?;
        if sub.payment_amount.is_zero() || payments.is_zero() || self.funded.contains(&id) {
            return Err(refuse(ContractError::NothingToFund, Branch::FundNothing));
        }
        if !self.is_valid_wallet(sub.wallet) {
            return Err(refuse(
                ContractError::InvalidWallet,
                Branch::FundWalletInvalid,
            ));
        }
        let amount = sub
            .payment_amount
            .checked_mul(payments)
            .ok_or_else(|| overflow(Branch::FundOverflows))?;
        self.funded.insert(id);
        self.reserved.insert(id, payments);
        self.lock(sub.wallet, from, sub.payment_token, amount)?;
        let wallet = sub.wallet;
        self.emit(
            self.at.coordinator,
            Emitted::SubscriptionFunded {
                id,
                wallet,
                payments,
                amount,
            },
        );
        self.mark(Branch::Funded);
        Ok(Returned::Nothing)
    }

    /// `releaseReserve`.
    pub(super) fn release_reserve(&mut self, id: u32) -> Result<Returned, Revert> {
        self.need_additions()?;
        let sub = self.subscriptions.get(&id).cloned().unwrap_or_default();
        let due = self.due_payments(id, &sub)?;
        let reserved = self.reserved.get(&id).copied().unwrap_or_default();
        let payments = reserved.saturating_sub(due);
        if payments.is_zero() {
            self.mark(Branch::ReserveKept);
            return Ok(Returned::Nothing);
        }
        self.reserved.insert(id, due);
        let amount = sub.payment_amount.wrapping_mul(payments);
        self.unlock(sub.wallet, sub.owner, sub.payment_token, amount)?;
        let wallet = sub.wallet;
        self.emit(
            self.at.coordinator,
            Emitted::ReserveReleased {
                id,
                wallet,
                payments,
                amount,
            },
        );
        self.mark(Branch::ReserveReleased);
        Ok(Returned::Nothing)
    }

    /// Under the reference's rules there are no such functions.
    fn need_additions(&mut self) -> Result<(), Revert> {
        match self.decide(Branch::DeviatesAddition, |rules| rules.has_additions()) {
            true => Ok(()),
            false => Err(empty(Branch::AdditionAbsent)),
        }
    }

    /// How many payments can still fall due: in the interval that runs and in those to come.
    fn due_payments(&self, id: u32, sub: &Subscription) -> Result<U256, Revert> {
        let now = self.now();
        let redundancy = U256::from(sub.redundancy);
        // Without a period there is one interval, however many are asked for.
        let frequency = match sub.period {
            0 => sub.frequency.min(1),
            _ => sub.frequency,
        };
        if sub.active_at == CANCELLED {
            return Ok(U256::ZERO);
        }
        if !self.rules.is_active(now, sub.active_at) {
            return Ok(U256::from(frequency).saturating_mul(redundancy));
        }
        let interval = self.rules.interval(now, sub.active_at, sub.period);
        if self.rules.is_over(interval, frequency) {
            return Ok(U256::ZERO);
        }
        let left = u64::from(frequency)
            .saturating_sub(interval.into())
            .saturating_add(1);
        let count = self.counts.get(&(id, interval)).copied().unwrap_or(0);
        U256::from(left)
            .saturating_mul(redundancy)
            .checked_sub(U256::from(count))
            .ok_or_else(|| overflow(Branch::FundOverflows))
    }

    /// Takes one payment out of what is locked ahead, so that it can be paid.
    pub(super) fn draw_reserve(&mut self, sub: &Subscription, id: u32) -> Result<(), Revert> {
        let reserved = self.reserved.get(&id).copied().unwrap_or_default();
        let left = reserved
            .checked_sub(U256::ONE)
            .ok_or_else(|| overflow(Branch::FundOverflows))?;
        self.reserved.insert(id, left);
        self.mark(Branch::DeviatesAddition);
        self.mark(Branch::PaidFromReserve);
        self.unlock(sub.wallet, sub.owner, sub.payment_token, sub.payment_amount)
    }

    /// `deliverComputeBatch`: each delivery by itself goes through or is undone. Returns the bits of those that went through.
    pub(super) fn deliver_batch(
        &mut self,
        node: Address,
        items: &[BatchItem],
    ) -> Result<Returned, Revert> {
        self.need_additions()?;
        if items.len() > BATCH_MAX {
            return Err(refuse(ContractError::BatchTooLong, Branch::BatchTooLong));
        }
        self.enter_delivery()?;
        let mut delivered = U256::ZERO;
        for (place, item) in items.iter().enumerate() {
            let BatchItem {
                id,
                interval,
                ref answer,
                node_wallet,
            } = *item;
            let before = self.clone();
            match self.deliver_one(node, id, interval, answer, node_wallet) {
                Ok(redundancy) => {
                    delivered.set_bit(place, true);
                    self.mark(Branch::BatchDelivered);
                    let event = Emitted::Delivered {
                        id,
                        interval,
                        node,
                        redundancy,
                    };
                    self.emit(self.at.coordinator, event);
                }
                Err(revert) => {
                    self.roll_back(before);
                    self.mark(revert.at);
                    self.mark(Branch::BatchItemFailed);
                    let reason = first_bytes(&revert.reason);
                    let event = Emitted::DeliveryFailed {
                        id,
                        interval,
                        node,
                        reason,
                    };
                    self.emit(self.at.coordinator, event);
                }
            }
        }
        self.delivering = false;
        Ok(Returned::Number(delivered))
    }
}

/// The first four bytes of what a call reverts with, filled up with zeros.
fn first_bytes(reason: &Reason) -> [u8; 4] {
    let mut first = [0; 4];
    for (to, from) in first.iter_mut().zip(reason.data()) {
        *to = from;
    }
    first
}
