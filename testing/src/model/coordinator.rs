//! The Coordinator: sections 2 and 3.

use revm::primitives::{Address, B256, U256};

use super::{
    Answer, Branch, CANCELLED, Call, ContractError, Emitted, Model, ProofRequest, Returned, Revert,
    Subscription, VerifierScript, container_id, empty, overflow, refuse,
};

/// One delivery on its way.
pub(super) struct Delivery<'a> {
    pub(super) id: u32,
    pub(super) interval: u32,
    pub(super) node: Address,
    pub(super) node_wallet: Address,
    pub(super) count: u16,
    pub(super) answer: &'a Answer,
}

impl Model {
    /// 2.1 `createSubscription`. Anything but [`Call::CreateSubscription`] creates nothing.
    pub(super) fn create_subscription(
        &mut self,
        from: Address,
        call: &Call,
    ) -> Result<Returned, Revert> {
        let Call::CreateSubscription {
            containers,
            frequency,
            period,
            redundancy,
            lazy,
            payment_token,
            payment_amount,
            wallet,
            verifier,
        } = call
        else {
            return Ok(Returned::Nothing);
        };
        let active_at = self
            .rules
            .first_active_at(self.now(), *period)
            .ok_or_else(|| overflow(Branch::CreatedTooLate))?;
        let id = self.store_subscription(Subscription {
            owner: from,
            active_at,
            period: *period,
            frequency: *frequency,
            redundancy: *redundancy,
            container_id: container_id(containers),
            lazy: *lazy,
            verifier: *verifier,
            payment_amount: *payment_amount,
            payment_token: *payment_token,
            wallet: *wallet,
        });
        self.mark(Branch::Created);
        Ok(Returned::number(id))
    }

    /// Stores a subscription under the next id and says so.
    pub(super) fn store_subscription(&mut self, subscription: Subscription) -> u32 {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        if self.next_id == 0 {
            self.mark(Branch::IdWrapped);
        }
        self.subscriptions.insert(id, subscription);
        self.funded.remove(&id);
        self.emit(self.at.coordinator, Emitted::SubscriptionCreated { id });
        id
    }

    /// 2.2 `cancelSubscription`.
    pub(super) fn cancel_subscription(
        &mut self,
        from: Address,
        id: u32,
    ) -> Result<Returned, Revert> {
        let Some(subscription) = self
            .subscriptions
            .get_mut(&id)
            .filter(|sub| sub.owner == from)
        else {
            return Err(refuse(
                ContractError::NotSubscriptionOwner,
                Branch::CancelNotOwner,
            ));
        };
        let again = subscription.active_at == CANCELLED;
        subscription.active_at = CANCELLED;
        self.mark(if again {
            Branch::CancelledAgain
        } else {
            Branch::Cancelled
        });
        self.emit(self.at.coordinator, Emitted::SubscriptionCancelled { id });
        if self.funded.contains(&id) {
            self.release_reserve(id)?;
        }
        Ok(Returned::Nothing)
    }

    /// 2.3 `getSubscriptionInterval`.
    pub(super) fn read_interval(&mut self, active_at: u32, period: u32) -> Returned {
        self.mark(match period {
            0 => Branch::IntervalOfCallback,
            _ if active_at > self.now() => Branch::IntervalOfFuture,
            _ => Branch::IntervalRead,
        });
        Returned::number(self.rules.interval(self.now(), active_at, period))
    }

    /// 2.4 `deliverCompute`.
    pub(super) fn deliver(
        &mut self,
        node: Address,
        id: u32,
        interval: u32,
        answer: &Answer,
        node_wallet: Address,
    ) -> Result<Returned, Revert> {
        self.enter_delivery()?;
        self.deliver_one(node, id, interval, answer, node_wallet)?;
        self.delivering = false;
        Ok(Returned::Nothing)
    }

    /// 2.4, check 0.
    pub(super) fn enter_delivery(&mut self) -> Result<(), Revert> {
        if self.delivering {
            return Err(refuse(ContractError::Reentrancy, Branch::DeliverReentered));
        }
        self.delivering = true;
        Ok(())
    }

    /// 2.4, from check 1 on. Returns how many answers the interval has now.
    pub(super) fn deliver_one(
        &mut self,
        node: Address,
        id: u32,
        interval: u32,
        answer: &Answer,
        node_wallet: Address,
    ) -> Result<u16, Revert> {
        let Some(sub) = self.subscriptions.get(&id).cloned() else {
            return Err(refuse(
                ContractError::SubscriptionNotFound,
                Branch::DeliverNotFound,
            ));
        };
        self.check_due(&sub, interval)?;
        let count = self.book(&sub, id, interval, node)?;
        let delivery = Delivery {
            id,
            interval,
            node,
            node_wallet,
            count,
            answer,
        };
        if sub.payment_amount.is_zero() {
            self.mark(Branch::DeliverFree);
        } else {
            self.pay(&sub, &delivery)?;
        }
        self.hand_over(&sub, &delivery)?;
        self.emit(
            self.at.coordinator,
            Emitted::SubscriptionFulfilled { id, node },
        );
        Ok(count)
    }

    /// 2.4, checks 2 to 4.
    fn check_due(&mut self, sub: &Subscription, interval: u32) -> Result<(), Revert> {
        let now = self.now();
        if !self.rules.is_active(now, sub.active_at) {
            let at = match sub.active_at {
                CANCELLED => Branch::DeliverCancelled,
                _ => Branch::DeliverNotActive,
            };
            return Err(refuse(ContractError::SubscriptionNotActive, at));
        }
        if self.rules.interval(now, sub.active_at, sub.period) != interval {
            return Err(refuse(
                ContractError::IntervalMismatch,
                Branch::DeliverIntervalMismatch,
            ));
        }
        if self.rules.is_over(interval, sub.frequency) {
            return Err(refuse(
                ContractError::SubscriptionCompleted,
                Branch::DeliverCompleted,
            ));
        }
        Ok(())
    }

    /// 2.4, checks 5 and 6: one more answer to the interval, and the node's own.
    fn book(
        &mut self,
        sub: &Subscription,
        id: u32,
        interval: u32,
        node: Address,
    ) -> Result<u16, Revert> {
        let count = self.counts.get(&(id, interval)).copied().unwrap_or(0);
        if self.rules.is_full(count, sub.redundancy) {
            return Err(refuse(
                ContractError::IntervalCompleted,
                Branch::DeliverIntervalCompleted,
            ));
        }
        let count = count.wrapping_add(1);
        self.counts.insert((id, interval), count);
        if !self.responded.insert((id, interval, node)) {
            return Err(refuse(
                ContractError::NodeRespondedAlready,
                Branch::DeliverRespondedAlready,
            ));
        }
        self.mark_moment(sub, interval);
        Ok(count)
    }

    /// Notes at what moment of its interval a delivery came.
    fn mark_moment(&mut self, sub: &Subscription, interval: u32) {
        let passed = self.now().wrapping_sub(sub.active_at);
        if passed == 0 {
            self.mark(Branch::DeliverAtActivation);
        }
        if let Some(second) = passed.checked_rem(sub.period) {
            if second == 0 && passed != 0 {
                self.mark(Branch::DeliverAtIntervalStart);
            }
            if second.wrapping_add(1) == sub.period {
                self.mark(Branch::DeliverAtIntervalEnd);
            }
        }
        if sub.frequency > 1 && interval == sub.frequency {
            self.mark(Branch::DeliverInLastInterval);
        }
    }

    /// 3: the payment.
    fn pay(&mut self, sub: &Subscription, delivery: &Delivery<'_>) -> Result<(), Revert> {
        let (owner, token, amount) = (sub.owner, sub.payment_token, sub.payment_amount);
        if !self.is_valid_wallet(delivery.node_wallet) {
            return Err(refuse(
                ContractError::InvalidWallet,
                Branch::PayNodeWalletInvalid,
            ));
        }
        if !self.is_valid_wallet(sub.wallet) {
            return Err(refuse(
                ContractError::InvalidWallet,
                Branch::PayWalletInvalid,
            ));
        }
        if self.funded.contains(&delivery.id) {
            self.draw_reserve(sub, delivery.id)?;
        }
        let set = self.fee.fee;
        let fee = self.decide(Branch::DeviatesFeeClamped, |rules| rules.fee_applied(set));
        let doubled = fee
            .checked_mul(2)
            .ok_or_else(|| overflow(Branch::PayFeeDoubledOverflows))?;
        let protocol = self
            .rules
            .fee_of(amount, doubled)
            .ok_or_else(|| overflow(Branch::PayFeeOverflows))?;
        let rest = amount
            .checked_sub(protocol)
            .ok_or_else(|| overflow(Branch::PayFeeTooHigh))?;
        if delivery.node_wallet == sub.wallet {
            self.mark(Branch::PaidToSelf);
        }

        let recipient = self.fee.ownable.owner;
        if sub.verifier.is_zero() {
            let payments = [(recipient, protocol), (delivery.node_wallet, rest)];
            self.transfer_twice(sub.wallet, owner, token, payments)?;
            self.mark(Branch::PaidAtOnce);
            return Ok(());
        }
        self.transfer(sub.wallet, owner, token, recipient, protocol)?;
        let escrowed = self.pay_verifier(sub, rest, fee)?;
        self.lock(delivery.node_wallet, delivery.node, token, amount)?;
        self.lock(sub.wallet, owner, token, escrowed)?;
        self.request_proof(sub, delivery, escrowed)
    }

    /// 3/4b: pays the verifier, and the protocol's part of its fee; returns what is left of `rest`.
    fn pay_verifier(&mut self, sub: &Subscription, rest: U256, fee: u16) -> Result<U256, Revert> {
        let token = sub.payment_token;
        let Some(verifier) = self.verifiers.get(&sub.verifier).cloned() else {
            return Err(empty(Branch::VerifierAbsent));
        };
        let Some(&price) = verifier.fees.get(&token) else {
            return Err(refuse(
                ContractError::UnsupportedVerifierToken,
                Branch::VerifierTokenUnsupported,
            ));
        };
        let Some(escrowed) = rest.checked_sub(price) else {
            let reason = self.decide(Branch::DeviatesVerifierFee, |rules| {
                rules.verifier_fee_refusal()
            });
            return Err(Revert {
                reason,
                at: Branch::VerifierFeeTooHigh,
            });
        };
        let protocol = self
            .rules
            .fee_of(price, fee)
            .ok_or_else(|| overflow(Branch::PayFeeOverflows))?;
        let own = price
            .checked_sub(protocol)
            .ok_or_else(|| overflow(Branch::PayFeeTooHigh))?;
        let payments = [(self.fee.ownable.owner, protocol), (verifier.wallet, own)];
        self.transfer_twice(sub.wallet, sub.owner, token, payments)?;
        Ok(escrowed)
    }

    /// 3/4b: notes the open verdict and asks the verifier for it.
    fn request_proof(
        &mut self,
        sub: &Subscription,
        delivery: &Delivery<'_>,
        escrowed: U256,
    ) -> Result<(), Revert> {
        let Delivery {
            id,
            interval,
            node,
            node_wallet,
            ..
        } = *delivery;
        let expiry = self
            .rules
            .proof_expiry(self.now())
            .ok_or_else(|| overflow(Branch::ProofExpiryOverflows))?;
        self.proof_requests.insert(
            (id, interval, node),
            ProofRequest {
                expiry,
                node_wallet,
                consumer_escrowed: escrowed,
            },
        );
        let proof = delivery.answer.proof.clone();
        self.emit(
            sub.verifier,
            Emitted::ProofAsked {
                id,
                interval,
                node,
                proof,
            },
        );
        self.mark(Branch::ProofRequested);
        let script = self
            .verifiers
            .get(&sub.verifier)
            .map(|verifier| verifier.script);
        match script.unwrap_or_default() {
            VerifierScript::Wait => Ok(()),
            VerifierScript::Revert => Err(Revert {
                reason: super::around::verifier_refusal(),
                at: Branch::VerifierReverted,
            }),
            VerifierScript::Valid => self.judge_at_once(sub.verifier, delivery, true),
            VerifierScript::Invalid => self.judge_at_once(sub.verifier, delivery, false),
        }
    }

    fn judge_at_once(
        &mut self,
        verifier: Address,
        delivery: &Delivery<'_>,
        valid: bool,
    ) -> Result<(), Revert> {
        self.mark(Branch::FinalizeAtomic);
        self.finalize_proof(
            verifier,
            delivery.id,
            delivery.interval,
            delivery.node,
            valid,
        )?;
        Ok(())
    }

    /// 2.4, step 8.
    fn hand_over(&mut self, sub: &Subscription, delivery: &Delivery<'_>) -> Result<(), Revert> {
        if sub.lazy {
            let index = self.write_lazily(sub.container_id, delivery);
            self.mark(Branch::DeliverLazy);
            let nothing = Answer::default();
            self.receive(sub.owner, delivery, &nothing, sub.container_id, index)
        } else {
            self.mark(Branch::DeliverEager);
            self.receive(sub.owner, delivery, delivery.answer, B256::ZERO, 0)
        }
    }

    /// 2.5 `finalizeProofVerification`.
    pub(super) fn finalize_proof(
        &mut self,
        from: Address,
        id: u32,
        interval: u32,
        node: Address,
        valid: bool,
    ) -> Result<Returned, Revert> {
        let Some(request) = self.proof_requests.remove(&(id, interval, node)) else {
            return Err(refuse(
                ContractError::ProofRequestNotFound,
                Branch::FinalizeNotFound,
            ));
        };
        let sub = self.subscriptions.get(&id).cloned().unwrap_or_default();
        let (owner, token, price) = (sub.owner, sub.payment_token, sub.payment_amount);
        let escrowed = request.consumer_escrowed;
        let now = self.now();
        let active = self.rules.verdict_in_time(now, request.expiry);
        let authorized = from == sub.verifier;
        if active
            && self.decide(Branch::DeviatesVerifierFirst, |rules| {
                rules.refuses_before_unlocks(authorized)
            })
        {
            let error = ContractError::UnauthorizedVerifier;
            return Err(refuse(error, Branch::FinalizeUnauthorizedFirst));
        }

        self.unlock(request.node_wallet, node, token, price)?;
        let allowed = self.allowance(sub.wallet, owner, token);
        self.unlock(sub.wallet, owner, token, escrowed)?;
        if active && !authorized {
            let error = ContractError::UnauthorizedVerifier;
            return Err(refuse(error, Branch::FinalizeUnauthorized));
        }
        if active && !valid {
            let slashed = self.rules.slashed(price, escrowed);
            self.transfer(request.node_wallet, node, token, sub.wallet, slashed)?;
        } else {
            self.transfer(sub.wallet, owner, token, request.node_wallet, escrowed)?;
            let left = self
                .decide(Branch::DeviatesUnlockSaturates, |rules| {
                    rules.allowance_released(allowed, escrowed)
                })
                .ok_or_else(|| overflow(Branch::UnlockAllowanceOverflows))?;
            self.set_allowance(sub.wallet, owner, token, left);
        }
        self.mark_verdict(&sub, now, request.expiry, valid);
        let verifier = from;
        self.emit(
            self.at.coordinator,
            Emitted::ProofVerified {
                id,
                interval,
                node,
                active,
                verifier,
                valid,
            },
        );
        Ok(Returned::Nothing)
    }

    fn mark_verdict(&mut self, sub: &Subscription, now: u32, expiry: u32, valid: bool) {
        if now < expiry {
            self.mark(if valid {
                Branch::FinalizeValid
            } else {
                Branch::FinalizeInvalid
            });
        } else {
            self.mark(Branch::FinalizeExpired);
            if now == expiry {
                self.mark(Branch::FinalizeAtExpiry);
            }
            if !valid {
                self.mark(Branch::FinalizeExpiredInvalid);
            }
        }
        if sub.active_at == CANCELLED {
            self.mark(Branch::FinalizeCancelled);
        }
    }
}
