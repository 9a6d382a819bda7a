//! Encodings that are no longer written, and what they mean today.
//!
//! A field that came later gets the value under which the machine does what it did before the
//! field was there. Nothing here is ever changed; an encoding is added when a newer one takes its
//! place.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    config::{ChainConfig, ClientId, Config, ContainerConfig, Limits},
    event::{DelegatedRequest, Event, Origin, Subscription, SyncedSubscription},
    types::{Address, Amount, BlockRef, BlockTime, Hash, PayloadRef, SubscriptionId, WallTime},
};

/// Kinds and versions that are decoded and no longer written.
pub(super) const OLD: &[(u16, u8)] = &[(2, 1), (2, 2), (10, 1), (12, 1)];

/// An event of an older encoding, as it is written today.
pub(super) fn event_of(kind: u16, version: u8, body: &[u8]) -> Option<Event> {
    match (kind, version) {
        (2, 1) => config_changed::<LimitsV1>(body),
        (2, 2) => config_changed::<LimitsV2>(body),
        (10, 1) => {
            whole::<SyncedV1>(body).map(|(block, subscriptions, next)| Event::SubscriptionsSynced {
                block,
                subscriptions: subscriptions.into_iter().map(Into::into).collect(),
                next,
            })
        }
        (12, 1) => whole::<(DelegatedRequestV1,)>(body)
            .map(|(request,)| Event::DelegatedAccepted(request.into())),
        (_, _) => None,
    }
}

fn whole<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let (value, read) = bincode::serde::decode_from_slice(body, super::CONFIG).ok()?;
    (read == body.len()).then_some(value)
}

/// `ConfigChanged` with the limits of its version; the rest is as it was.
fn config_changed<L: DeserializeOwned + Into<Limits>>(body: &[u8]) -> Option<Event> {
    let (old,) = whole::<(ConfigWith<L>,)>(body)?;
    Some(Event::ConfigChanged(Config {
        chain: old.chain,
        containers: old.containers,
        chains: old.chains,
        permutation_length_max: old.permutation_length_max,
        verifiers: old.verifiers,
        stake_caps: old.stake_caps,
        rates: old.rates,
        limits: old.limits.into(),
    }))
}

#[derive(Deserialize)]
struct ConfigWith<L> {
    chain: Option<ChainConfig>,
    containers: Vec<ContainerConfig>,
    chains: Vec<Vec<String>>,
    permutation_length_max: u8,
    verifiers: Option<Vec<Address>>,
    stake_caps: Vec<(Address, Amount)>,
    rates: Vec<(Address, Amount)>,
    limits: L,
}

/// Before clients' waiting delegated subscriptions were limited.
#[derive(Deserialize)]
struct LimitsV1 {
    container_attempts_max: u16,
    delivery_attempts_max: u16,
    retry_backoff_ms: u64,
    retry_backoff_max_ms: u64,
    fee_bump_after_ms: u64,
    job_expiry_ms: u64,
    result_age_max_ms: u64,
    results_max: u32,
    jobs_open_max: u32,
    closing_margin_s: u32,
    inclusion_delay_s: u32,
    breaker_losses: u16,
    breaker_pause_ms: u64,
}

/// Before a higher fee's percentage was configured.
#[derive(Deserialize)]
struct LimitsV2 {
    container_attempts_max: u16,
    delivery_attempts_max: u16,
    retry_backoff_ms: u64,
    retry_backoff_max_ms: u64,
    fee_bump_after_ms: u64,
    job_expiry_ms: u64,
    result_age_max_ms: u64,
    results_max: u32,
    jobs_open_max: u32,
    closing_margin_s: u32,
    inclusion_delay_s: u32,
    breaker_losses: u16,
    breaker_pause_ms: u64,
    delegated_waiting_max: u32,
}

impl From<LimitsV1> for Limits {
    fn from(old: LimitsV1) -> Self {
        Self::from(LimitsV2 {
            container_attempts_max: old.container_attempts_max,
            delivery_attempts_max: old.delivery_attempts_max,
            retry_backoff_ms: old.retry_backoff_ms,
            retry_backoff_max_ms: old.retry_backoff_max_ms,
            fee_bump_after_ms: old.fee_bump_after_ms,
            job_expiry_ms: old.job_expiry_ms,
            result_age_max_ms: old.result_age_max_ms,
            results_max: old.results_max,
            jobs_open_max: old.jobs_open_max,
            closing_margin_s: old.closing_margin_s,
            inclusion_delay_s: old.inclusion_delay_s,
            breaker_losses: old.breaker_losses,
            breaker_pause_ms: old.breaker_pause_ms,
            delegated_waiting_max: u32::MAX,
        })
    }
}

impl From<LimitsV2> for Limits {
    fn from(old: LimitsV2) -> Self {
        Self {
            container_attempts_max: old.container_attempts_max,
            delivery_attempts_max: old.delivery_attempts_max,
            retry_backoff_ms: old.retry_backoff_ms,
            retry_backoff_max_ms: old.retry_backoff_max_ms,
            fee_bump_after_ms: old.fee_bump_after_ms,
            fee_bump_percent: 25,
            job_expiry_ms: old.job_expiry_ms,
            result_age_max_ms: old.result_age_max_ms,
            results_max: old.results_max,
            jobs_open_max: old.jobs_open_max,
            closing_margin_s: old.closing_margin_s,
            inclusion_delay_s: old.inclusion_delay_s,
            breaker_losses: old.breaker_losses,
            breaker_pause_ms: old.breaker_pause_ms,
            delegated_waiting_max: old.delegated_waiting_max,
        }
    }
}

/// `SubscriptionsSynced` before the past was asked who came by delegation.
type SyncedV1 = (BlockRef, Vec<SyncedSubscriptionV1>, SubscriptionId);

#[derive(Deserialize)]
struct SyncedSubscriptionV1 {
    id: SubscriptionId,
    subscription: Subscription,
    responses: u16,
    responded: bool,
}

impl From<SyncedSubscriptionV1> for SyncedSubscription {
    fn from(old: SyncedSubscriptionV1) -> Self {
        Self {
            id: old.id,
            subscription: old.subscription,
            responses: old.responses,
            responded: old.responded,
            origin: Origin::Owner,
        }
    }
}

/// `DelegatedAccepted` before it said how far the chain was.
#[derive(Deserialize)]
struct DelegatedRequestV1 {
    client: ClientId,
    at: WallTime,
    subscription: Subscription,
    nonce: u32,
    expiry: u32,
    v: u8,
    r: Hash,
    s: Hash,
    input: PayloadRef,
    known_id: SubscriptionId,
}

impl From<DelegatedRequestV1> for DelegatedRequest {
    fn from(old: DelegatedRequestV1) -> Self {
        Self {
            client: old.client,
            at: old.at,
            subscription: old.subscription,
            nonce: old.nonce,
            expiry: old.expiry,
            v: old.v,
            r: old.r,
            s: old.s,
            input: old.input,
            known_id: old.known_id,
            seen: BlockTime(0),
        }
    }
}
