//! One event of each kind, with everything that it can hold: what is missing does not compile.

use infernet_state::{
    Config, Event,
    config::{ChainConfig, ClientId, ContainerConfig, Limits},
    event::{
        ChainFact, DelegatedRequest, Failure, Idempotency, JobKind, JobRequest, Origin, Outcome,
        Receipt, Rejection, ReportedStatus, Subscription, Success, SyncedSubscription,
        TransactionState, WalletChange, WalletFact,
    },
    types::{
        Address, Amount, BlockRef, BlockTime, Hash, Interval, JobId, Nonce, PayloadRef,
        SubscriptionId, WallTime,
    },
};

use super::setup::effect_id;

fn at() -> WallTime {
    WallTime(1_700_000_000_123)
}

fn address(byte: u8) -> Address {
    Address([byte; 20])
}

fn hash(byte: u8) -> Hash {
    Hash([byte; 32])
}

fn payload(byte: u8) -> PayloadRef {
    PayloadRef {
        hash: hash(byte),
        len: 1_000 + u32::from(byte),
    }
}

fn block(number: u64) -> BlockRef {
    BlockRef {
        number,
        hash: hash(0xb1),
        time: BlockTime(1_700_000_000 + number),
    }
}

fn words(text: &str) -> String {
    text.into()
}

fn subscription() -> Subscription {
    Subscription {
        owner: address(0x0c),
        active_at: 1_700_000_060,
        period: 60,
        frequency: 24,
        redundancy: 3,
        container_id: hash(0xc0),
        lazy: true,
        verifier: address(0x0e),
        payment_amount: Amount::from(10_u128.pow(18)),
        payment_token: address(0x07),
        wallet: address(0x0d),
    }
}

/// A configuration with nothing left out.
pub(crate) fn config() -> Config {
    Config {
        chain: Some(ChainConfig {
            chain_id: 31_337,
            registry: address(1),
            coordinator: address(2),
            wallet_factory: address(3),
            fee_recipient: address(4),
            node: address(5),
            payment_wallet: Some(address(6)),
            trail_head_blocks: 1,
            delivery_batch_max: 8,
            max_fee_per_gas_cap: 200_000_000_000,
            gas_limit_max: 5_000_000,
        }),
        containers: vec![ContainerConfig {
            id: words("alpha"),
            description: words("answers"),
            image: words("example/alpha:1"),
            external: true,
            generates_proofs: true,
            allowed_addresses: vec![address(0x0c)],
            allowed_delegate_addresses: vec![address(0x0f)],
            allowed_clients: vec![ClientId([0x11; 16])],
            accepted_payments: vec![(Address::ZERO, Amount::from(1)), (address(7), Amount::MAX)],
            rerun: false,
        }],
        chains: vec![vec![words("alpha"), words("beta")]],
        permutation_length_max: 2,
        verifiers: Some(vec![address(0x0e)]),
        stake_caps: vec![(Address::ZERO, Amount::from(5))],
        rates: vec![(address(7), Amount::from(10_u128.pow(18)))],
        limits: Limits {
            container_attempts_max: 1,
            delivery_attempts_max: 2,
            retry_backoff_ms: 3,
            retry_backoff_max_ms: 4,
            fee_bump_after_ms: 5,
            fee_bump_percent: 15,
            job_expiry_ms: 6,
            result_age_max_ms: 7,
            results_max: 8,
            jobs_open_max: 9,
            closing_margin_s: 10,
            inclusion_delay_s: 11,
            breaker_losses: 12,
            breaker_pause_ms: 13,
            delegated_waiting_max: 14,
        },
    }
}

fn facts() -> Vec<ChainFact> {
    let id = SubscriptionId(300);
    let mut facts = Vec::from(all!(ChainFact;
        ChainFact::SubscriptionCreated { .. } => ChainFact::SubscriptionCreated {
            id,
            subscription: subscription(),
            delegation: Some(4),
        },
        ChainFact::SubscriptionCancelled { .. } => ChainFact::SubscriptionCancelled { id },
        ChainFact::SubscriptionFulfilled { .. } => ChainFact::SubscriptionFulfilled {
            id,
            node: address(5),
        },
        ChainFact::ProofVerified { .. } => ChainFact::ProofVerified {
            id,
            interval: Interval(2),
            node: address(5),
            active: true,
            valid: false,
        },
        ChainFact::TransactionIncluded(_) => ChainFact::TransactionIncluded(Receipt {
            nonce: Nonce(70_000),
            tx: hash(0x77),
            succeeded: true,
            gas_used: 180_000,
            effective_gas_price: 1_000_000_007,
            l1_fee: Amount::from(99),
        }),
        ChainFact::ForeignNonceUsed { .. } => ChainFact::ForeignNonceUsed { nonce: Nonce(8) },
        ChainFact::Wallet(_) => ChainFact::Wallet(wallet(WalletChange::Withdrawn {
            token: Address::ZERO,
            amount: Amount::from(1),
        })),
    ));
    let token = address(7);
    let amount = Amount::MAX;
    let changes = all!(WalletChange;
        WalletChange::Transferred { .. } => WalletChange::Transferred {
            spender: address(0x0c),
            token,
            to: address(6),
            amount,
        },
        WalletChange::Escrowed { .. } => WalletChange::Escrowed {
            spender: address(5),
            token,
            amount,
            locked: true,
        },
        WalletChange::Approved { .. } => WalletChange::Approved {
            spender: address(5),
            token,
            amount,
        },
        WalletChange::Withdrawn { .. } => WalletChange::Withdrawn { token, amount },
        WalletChange::BalanceRead { .. } => WalletChange::BalanceRead {
            token,
            balance: amount,
        },
    );
    facts.extend(changes.map(|change| ChainFact::Wallet(wallet(change))));
    facts
}

fn wallet(change: WalletChange) -> WalletFact {
    WalletFact {
        wallet: address(6),
        owner: address(5),
        tx: hash(0x77),
        change,
    }
}

fn successes() -> Vec<Success> {
    let mut successes = Vec::from(all!(Success;
        Success::InputsRead { .. } => Success::InputsRead { input: payload(1) },
        Success::PayerRead { .. } => Success::PayerRead {
            valid: true,
            balance: Amount::from(10),
            allowance: Amount::from(9),
        },
        Success::ResponsesRead { .. } => Success::ResponsesRead {
            responses: 2,
            responded: true,
        },
        Success::ContainerAnswered { .. } => Success::ContainerAnswered { output: payload(2) },
        Success::ContainerAnsweredOnchain { .. } => Success::ContainerAnsweredOnchain {
            output: payload(3),
            deliver_input: payload(4),
            deliver_output: payload(5),
            deliver_proof: payload(6),
        },
        Success::Simulated { .. } => Success::Simulated {
            gas: 150_000,
            base_fee: 1_000_000_000,
            priority_fee: 7,
        },
        Success::Signed { .. } => Success::Signed {
            tx: hash(0x77),
            raw: payload(7),
        },
        Success::Broadcast => Success::Broadcast,
        Success::LookedUp(_) => Success::LookedUp(TransactionState::Absent),
    ));
    successes.extend(
        all!(TransactionState;
            TransactionState::Absent => TransactionState::Absent,
            TransactionState::Pending => TransactionState::Pending,
            TransactionState::Included => TransactionState::Included,
            TransactionState::NonceTaken => TransactionState::NonceTaken,
        )
        .map(Success::LookedUp),
    );
    successes
}

fn failures() -> Vec<Failure> {
    let reason = || words("in words");
    let mut failures = Vec::from(all!(Failure;
        Failure::Container { .. } => Failure::Container {
            error: payload(8),
            retry: true,
        },
        Failure::Reverted { .. } => Failure::Reverted {
            selector: [0x2f, 0x4c, 0xa8, 0x5b],
            reason: reason(),
        },
        Failure::Rejected(_) => Failure::Rejected(Rejection::NonceTooLow),
        Failure::Unavailable { .. } => Failure::Unavailable { reason: reason() },
        Failure::NotRerun => Failure::NotRerun,
        Failure::Missing { .. } => Failure::Missing { reason: reason() },
    ));
    failures.extend(
        all!(Rejection;
            Rejection::NonceTooLow => Rejection::NonceTooLow,
            Rejection::NonceTooHigh => Rejection::NonceTooHigh,
            Rejection::Underpriced => Rejection::Underpriced,
            Rejection::InsufficientFunds => Rejection::InsufficientFunds,
            Rejection::Other { .. } => Rejection::Other { reason: reason() },
        )
        .map(Failure::Rejected),
    );
    failures
}

fn outcomes() -> Vec<Outcome> {
    // The list as such is complete; each of the first two is then given in all its kinds.
    let _ = all!(Outcome;
        Outcome::Succeeded(_) => Outcome::Succeeded(Success::Broadcast),
        Outcome::Failed(_) => Outcome::Failed(Failure::NotRerun),
        Outcome::Unknown { .. } => Outcome::Unknown { reason: String::new() },
    );
    let mut outcomes: Vec<Outcome> = successes().into_iter().map(Outcome::Succeeded).collect();
    outcomes.extend(failures().into_iter().map(Outcome::Failed));
    outcomes.push(Outcome::Unknown {
        reason: words("the connection was lost"),
    });
    outcomes
}

fn job(kind: JobKind, idempotency: Option<Idempotency>) -> Event {
    Event::JobAccepted(JobRequest {
        job: JobId([0x22; 16]),
        client: ClientId([0x11; 16]),
        at: at(),
        kind,
        containers: vec![words("alpha"), words("beta")],
        input: payload(9),
        requires_proof: true,
        idempotency,
    })
}

fn reported(status: ReportedStatus) -> Event {
    Event::JobReported {
        job: JobId([0x23; 16]),
        client: ClientId([0x11; 16]),
        at: at(),
        status,
        containers: vec![words("gamma")],
        result: Some(payload(10)),
    }
}

/// Events of every kind, several where a kind can hold several things.
pub(crate) fn samples() -> Vec<Event> {
    let _ = all!(Event;
        Event::NodeStarted { .. } => 1,
        Event::ConfigChanged(_) => 2,
        Event::Upgraded { .. } => 3,
        Event::WallTimePassed { .. } => 4,
        Event::AccountObserved { .. } => 5,
        Event::QuarantineLifted => 6,
        Event::ChainCommitted { .. } => 7,
        Event::ChainReorged { .. } => 8,
        Event::ChainFinalized { .. } => 9,
        Event::SubscriptionsSynced { .. } => 10,
        Event::JobAccepted(_) => 11,
        Event::DelegatedAccepted(_) => 12,
        Event::JobReported { .. } => 13,
        Event::JobCancelled { .. } => 14,
        Event::EffectEnded { .. } => 15,
        Event::HeadObserved { .. } => 16,
    );
    let key = Idempotency {
        key: hash(0x1d),
        body: hash(0x1e),
    };
    let mut samples = vec![
        Event::NodeStarted {
            at: at(),
            version: words("0.1.0"),
        },
        Event::ConfigChanged(config()),
        Event::ConfigChanged(Config::default()),
        Event::Upgraded { to: 1 },
        Event::WallTimePassed { now: at() },
        Event::AccountObserved {
            head: block(7),
            nonce: Nonce(3),
            balance: Amount::from(10_u128.pow(18)),
        },
        Event::QuarantineLifted,
        Event::ChainCommitted {
            block: block(8),
            facts: facts(),
        },
        Event::HeadObserved { head: block(10) },
        Event::ChainReorged { ancestor: block(6) },
        Event::ChainFinalized { block: block(5) },
        Event::SubscriptionsSynced {
            block: block(9),
            subscriptions: all!(Origin;
                Origin::Owner => Origin::Owner,
                Origin::Delegated(_) => Origin::Delegated(6),
                Origin::Unclear => Origin::Unclear)
            .map(|origin| SyncedSubscription {
                id: SubscriptionId(12),
                subscription: subscription(),
                responses: 1,
                responded: true,
                origin,
            })
            .into(),
            next: SubscriptionId(13),
        },
        Event::DelegatedAccepted(DelegatedRequest {
            client: ClientId([0x11; 16]),
            at: at(),
            subscription: subscription(),
            nonce: 5,
            expiry: 1_700_003_600,
            v: 27,
            r: hash(0x12),
            s: hash(0x13),
            input: payload(11),
            known_id: SubscriptionId(0),
            seen: BlockTime(1_700_000_012),
        }),
        Event::JobCancelled {
            job: JobId([0x22; 16]),
            at: at(),
        },
    ];
    samples.extend(
        all!(JobKind; JobKind::Offchain => JobKind::Offchain, JobKind::Stream => JobKind::Stream)
            .map(|kind| job(kind, Some(key))),
    );
    samples.push(job(JobKind::Offchain, None));
    samples.extend(
        all!(ReportedStatus;
            ReportedStatus::Running => ReportedStatus::Running,
            ReportedStatus::Success => ReportedStatus::Success,
            ReportedStatus::Failed => ReportedStatus::Failed,
        )
        .map(reported),
    );
    samples.extend(outcomes().into_iter().map(|outcome| Event::EffectEnded {
        effect: effect_id(41, 2),
        attempt: 2,
        at: at(),
        outcome,
    }));
    samples
}
