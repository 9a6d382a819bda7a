//! Any event with any contents.

use infernet_state::{
    Config, Event,
    config::{ChainConfig, ClientId, ContainerConfig, Limits},
    event::{
        ChainFact, DelegatedRequest, Failure, Idempotency, JobKind, JobRequest, Origin, Outcome,
        Receipt, Rejection, ReportedStatus, Subscription, Success, SyncedSubscription,
        TransactionState, WalletChange, WalletFact,
    },
    types::{
        Address, Amount, BlockRef, BlockTime, EffectId, Hash, Interval, JobId, Nonce, PayloadRef,
        Seq, SubscriptionId, WallTime,
    },
};
use proptest::{collection::vec, option, prelude::*};

use crate::strategies::{
    subscriptions::subscription as model_subscription,
    values::{amount, any_address, edge_u32},
};

/// Numbers near zero, near 2^64, or anywhere.
fn edge_u64() -> BoxedStrategy<u64> {
    prop_oneof![
        4 => 0_u64..8,
        1 => (0_u64..4).prop_map(|offset| u64::MAX - offset),
        1 => any::<u64>(),
    ]
    .boxed()
}

fn address() -> BoxedStrategy<Address> {
    any_address()
        .prop_map(|address| Address(address.into_array()))
        .boxed()
}

fn hash() -> BoxedStrategy<Hash> {
    prop_oneof![
        2 => (0_u8..8).prop_map(|byte| Hash([byte; 32])),
        1 => any::<[u8; 32]>().prop_map(Hash),
    ]
    .boxed()
}

fn money() -> BoxedStrategy<Amount> {
    amount().prop_map(Amount).boxed()
}

fn payload() -> BoxedStrategy<PayloadRef> {
    (hash(), edge_u32())
        .prop_map(|(hash, len)| PayloadRef { hash, len })
        .boxed()
}

fn block() -> BoxedStrategy<BlockRef> {
    (edge_u64(), hash(), edge_u64())
        .prop_map(|(number, hash, time)| BlockRef {
            number,
            hash,
            time: BlockTime(time),
        })
        .boxed()
}

fn wall_time() -> BoxedStrategy<WallTime> {
    edge_u64().prop_map(WallTime).boxed()
}

fn id() -> BoxedStrategy<SubscriptionId> {
    edge_u32().prop_map(SubscriptionId).boxed()
}

fn interval() -> BoxedStrategy<Interval> {
    edge_u32().prop_map(Interval).boxed()
}

fn job_id() -> BoxedStrategy<JobId> {
    (0_u8..6).prop_map(|byte| JobId([byte; 16])).boxed()
}

fn client() -> BoxedStrategy<ClientId> {
    (0_u8..3).prop_map(|byte| ClientId([byte; 16])).boxed()
}

fn word() -> BoxedStrategy<String> {
    prop_oneof![
        Just(String::new()),
        Just("alpha".to_owned()),
        Just("beta".to_owned()),
        Just("a,b".to_owned()),
        "\\PC{0,20}",
    ]
    .boxed()
}

fn subscription() -> BoxedStrategy<Subscription> {
    model_subscription(1_700_000_000)
        .prop_map(|sub| Subscription::from(&sub))
        .boxed()
}

fn receipt() -> BoxedStrategy<Receipt> {
    let price = prop_oneof![0_u64..10, any::<u64>()].prop_map(u128::from);
    (
        edge_u64(),
        hash(),
        any::<bool>(),
        edge_u64(),
        price,
        money(),
    )
        .prop_map(
            |(nonce, tx, succeeded, gas_used, effective_gas_price, l1_fee)| Receipt {
                nonce: Nonce(nonce),
                tx,
                succeeded,
                gas_used,
                effective_gas_price,
                l1_fee,
            },
        )
        .boxed()
}

fn wallet_fact() -> BoxedStrategy<WalletFact> {
    let change = prop_oneof![
        (address(), address(), address(), money()).prop_map(|(spender, token, to, amount)| {
            WalletChange::Transferred {
                spender,
                token,
                to,
                amount,
            }
        }),
        (address(), address(), money(), any::<bool>()).prop_map(
            |(spender, token, amount, locked)| WalletChange::Escrowed {
                spender,
                token,
                amount,
                locked,
            }
        ),
        (address(), address(), money()).prop_map(|(spender, token, amount)| {
            WalletChange::Approved {
                spender,
                token,
                amount,
            }
        }),
        (address(), money()).prop_map(|(token, amount)| WalletChange::Withdrawn { token, amount }),
        (address(), money())
            .prop_map(|(token, balance)| WalletChange::BalanceRead { token, balance }),
    ];
    (address(), address(), hash(), change)
        .prop_map(|(wallet, owner, tx, change)| WalletFact {
            wallet,
            owner,
            tx,
            change,
        })
        .boxed()
}

/// Any fact of a block.
pub fn chain_fact() -> BoxedStrategy<ChainFact> {
    prop_oneof![
        (id(), subscription(), option::of(edge_u32())).prop_map(
            |(id, subscription, delegation)| ChainFact::SubscriptionCreated {
                id,
                subscription,
                delegation,
            }
        ),
        id().prop_map(|id| ChainFact::SubscriptionCancelled { id }),
        (id(), address()).prop_map(|(id, node)| ChainFact::SubscriptionFulfilled { id, node }),
        (id(), interval(), address(), any::<bool>(), any::<bool>()).prop_map(
            |(id, interval, node, active, valid)| ChainFact::ProofVerified {
                id,
                interval,
                node,
                active,
                valid,
            }
        ),
        receipt().prop_map(ChainFact::TransactionIncluded),
        edge_u64().prop_map(|nonce| ChainFact::ForeignNonceUsed {
            nonce: Nonce(nonce)
        }),
        wallet_fact().prop_map(ChainFact::Wallet),
    ]
    .boxed()
}

fn success() -> BoxedStrategy<Success> {
    let state = prop_oneof![
        Just(TransactionState::Absent),
        Just(TransactionState::Pending),
        Just(TransactionState::Included),
        Just(TransactionState::NonceTaken),
    ];
    prop_oneof![
        payload().prop_map(|input| Success::InputsRead { input }),
        (any::<bool>(), money(), money()).prop_map(|(valid, balance, allowance)| {
            Success::PayerRead {
                valid,
                balance,
                allowance,
            }
        }),
        (any::<u16>(), any::<bool>()).prop_map(|(responses, responded)| Success::ResponsesRead {
            responses,
            responded
        }),
        payload().prop_map(|output| Success::ContainerAnswered { output }),
        (payload(), payload(), payload(), payload()).prop_map(
            |(output, deliver_input, deliver_output, deliver_proof)| {
                Success::ContainerAnsweredOnchain {
                    output,
                    deliver_input,
                    deliver_output,
                    deliver_proof,
                }
            }
        ),
        (edge_u64(), any::<u64>(), any::<u64>()).prop_map(|(gas, base, priority)| {
            Success::Simulated {
                gas,
                base_fee: base.into(),
                priority_fee: priority.into(),
            }
        }),
        (hash(), payload()).prop_map(|(tx, raw)| Success::Signed { tx, raw }),
        Just(Success::Broadcast),
        state.prop_map(Success::LookedUp),
    ]
    .boxed()
}

fn failure() -> BoxedStrategy<Failure> {
    let rejection = prop_oneof![
        Just(Rejection::NonceTooLow),
        Just(Rejection::NonceTooHigh),
        Just(Rejection::Underpriced),
        Just(Rejection::InsufficientFunds),
        word().prop_map(|reason| Rejection::Other { reason }),
    ];
    prop_oneof![
        (payload(), any::<bool>()).prop_map(|(error, retry)| Failure::Container { error, retry }),
        (any::<[u8; 4]>(), word())
            .prop_map(|(selector, reason)| Failure::Reverted { selector, reason }),
        rejection.prop_map(Failure::Rejected),
        word().prop_map(|reason| Failure::Unavailable { reason }),
        Just(Failure::NotRerun),
        word().prop_map(|reason| Failure::Missing { reason }),
    ]
    .boxed()
}

/// Any end of an effect.
pub fn outcome() -> BoxedStrategy<Outcome> {
    prop_oneof![
        4 => success().prop_map(Outcome::Succeeded),
        3 => failure().prop_map(Outcome::Failed),
        1 => word().prop_map(|reason| Outcome::Unknown { reason }),
    ]
    .boxed()
}

fn chain_config() -> BoxedStrategy<ChainConfig> {
    (
        (
            edge_u64(),
            address(),
            address(),
            address(),
            address(),
            address(),
        ),
        (
            option::of(address()),
            edge_u64(),
            any::<u16>(),
            any::<u64>(),
            edge_u64(),
        ),
    )
        .prop_map(|(addresses, numbers)| {
            let (chain_id, registry, coordinator, wallet_factory, fee_recipient, node) = addresses;
            let (payment_wallet, trail_head_blocks, delivery_batch_max, cap, gas_limit_max) =
                numbers;
            ChainConfig {
                chain_id,
                registry,
                coordinator,
                wallet_factory,
                fee_recipient,
                node,
                payment_wallet,
                trail_head_blocks,
                delivery_batch_max,
                max_fee_per_gas_cap: cap.into(),
                gas_limit_max,
            }
        })
        .boxed()
}

fn container() -> BoxedStrategy<ContainerConfig> {
    (
        (word(), word(), any::<bool>(), any::<bool>(), any::<bool>()),
        (
            vec(address(), 0..3),
            vec(client(), 0..2),
            vec((address(), money()), 0..3),
        ),
    )
        .prop_map(|(plain, lists)| {
            let (id, image, external, generates_proofs, rerun) = plain;
            let (allowed_addresses, allowed_clients, accepted_payments) = lists;
            ContainerConfig {
                id,
                image,
                external,
                generates_proofs,
                rerun,
                allowed_delegate_addresses: allowed_addresses.clone(),
                allowed_addresses,
                allowed_clients,
                accepted_payments,
                ..ContainerConfig::default()
            }
        })
        .boxed()
}

fn limits() -> BoxedStrategy<Limits> {
    (
        (
            0_u16..4,
            0_u16..4,
            edge_u64(),
            edge_u64(),
            edge_u64(),
            any::<u16>(),
        ),
        (
            edge_u64(),
            edge_u64(),
            edge_u32(),
            edge_u32(),
            edge_u32(),
            0_u16..4,
        ),
    )
        .prop_map(|(attempts, ages)| {
            let (container_attempts_max, delivery_attempts_max, retry, retry_max, bump, percent) =
                attempts;
            let (job_expiry_ms, result_age_max_ms, results_max, jobs_open_max, margin, losses) =
                ages;
            Limits {
                container_attempts_max,
                delivery_attempts_max,
                retry_backoff_ms: retry,
                retry_backoff_max_ms: retry_max,
                fee_bump_after_ms: bump,
                fee_bump_percent: percent,
                job_expiry_ms,
                result_age_max_ms,
                results_max,
                jobs_open_max,
                closing_margin_s: margin,
                breaker_losses: losses,
                ..Limits::default()
            }
        })
        .boxed()
}

fn config() -> BoxedStrategy<Config> {
    (
        (
            option::of(chain_config()),
            vec(container(), 0..4),
            vec(vec(word(), 0..3), 0..3),
        ),
        (
            0_u8..5,
            option::of(vec(address(), 0..3)),
            vec((address(), money()), 0..3),
            limits(),
        ),
    )
        .prop_map(|(offer, policy)| {
            let (chain, containers, chains) = offer;
            let (permutation_length_max, verifiers, stake_caps, limits) = policy;
            Config {
                chain,
                containers,
                chains,
                permutation_length_max,
                verifiers,
                rates: stake_caps.clone(),
                stake_caps,
                limits,
            }
        })
        .boxed()
}

fn job() -> BoxedStrategy<JobRequest> {
    let idempotency = (hash(), hash()).prop_map(|(key, body)| Idempotency { key, body });
    (
        (job_id(), client(), wall_time(), any::<bool>()),
        (
            vec(word(), 0..3),
            payload(),
            any::<bool>(),
            option::of(idempotency),
        ),
    )
        .prop_map(|(who, what)| {
            let (job, client, at, stream) = who;
            let (containers, input, requires_proof, idempotency) = what;
            let kind = if stream {
                JobKind::Stream
            } else {
                JobKind::Offchain
            };
            JobRequest {
                job,
                client,
                at,
                kind,
                containers,
                input,
                requires_proof,
                idempotency,
            }
        })
        .boxed()
}

fn delegated() -> BoxedStrategy<DelegatedRequest> {
    (
        (
            client(),
            wall_time(),
            subscription(),
            edge_u32(),
            edge_u32(),
        ),
        (any::<u8>(), hash(), hash(), payload(), id(), edge_u64()),
    )
        .prop_map(|(what, signature)| {
            let (client, at, subscription, nonce, expiry) = what;
            let (v, r, s, input, known_id, seen) = signature;
            DelegatedRequest {
                client,
                at,
                subscription,
                nonce,
                expiry,
                v,
                r,
                s,
                input,
                known_id,
                seen: BlockTime(seen),
            }
        })
        .boxed()
}

fn local_event() -> BoxedStrategy<Event> {
    let status = prop_oneof![
        Just(ReportedStatus::Running),
        Just(ReportedStatus::Success),
        Just(ReportedStatus::Failed),
    ];
    prop_oneof![
        (wall_time(), word()).prop_map(|(at, version)| Event::NodeStarted { at, version }),
        config().prop_map(Event::ConfigChanged),
        any::<u16>().prop_map(|to| Event::Upgraded { to }),
        wall_time().prop_map(|now| Event::WallTimePassed { now }),
        (block(), edge_u64(), money()).prop_map(|(head, nonce, balance)| Event::AccountObserved {
            head,
            nonce: Nonce(nonce),
            balance,
        }),
        Just(Event::QuarantineLifted),
        job().prop_map(Event::JobAccepted),
        delegated().prop_map(Event::DelegatedAccepted),
        (
            job_id(),
            client(),
            wall_time(),
            status,
            vec(word(), 0..2),
            option::of(payload())
        )
            .prop_map(
                |(job, client, at, status, containers, result)| Event::JobReported {
                    job,
                    client,
                    at,
                    status,
                    containers,
                    result,
                }
            ),
        (job_id(), wall_time()).prop_map(|(job, at)| Event::JobCancelled { job, at }),
        (edge_u64(), 0_u16..3, 0_u16..4, wall_time(), outcome()).prop_map(
            |(seq, ordinal, attempt, at, outcome)| Event::EffectEnded {
                effect: EffectId {
                    seq: Seq(seq),
                    ordinal
                },
                attempt,
                at,
                outcome,
            }
        ),
    ]
    .boxed()
}

fn chain_event() -> BoxedStrategy<Event> {
    let origin = prop_oneof![
        Just(Origin::Owner),
        edge_u32().prop_map(Origin::Delegated),
        Just(Origin::Unclear),
    ];
    let synced = (id(), subscription(), any::<u16>(), any::<bool>(), origin).prop_map(
        |(id, subscription, responses, responded, origin)| SyncedSubscription {
            id,
            subscription,
            responses,
            responded,
            origin,
        },
    );
    prop_oneof![
        3 => (block(), vec(chain_fact(), 0..4))
            .prop_map(|(block, facts)| Event::ChainCommitted { block, facts }),
        1 => block().prop_map(|head| Event::HeadObserved { head }),
        1 => block().prop_map(|ancestor| Event::ChainReorged { ancestor }),
        1 => block().prop_map(|block| Event::ChainFinalized { block }),
        1 => (block(), vec(synced, 0..3), id()).prop_map(|(block, subscriptions, next)| {
            Event::SubscriptionsSynced { block, subscriptions, next }
        }),
    ]
    .boxed()
}

/// Any event with any contents.
pub fn event() -> BoxedStrategy<Event> {
    prop_oneof![local_event(), chain_event()].boxed()
}
