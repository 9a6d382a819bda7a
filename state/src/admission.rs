//! Admission: which subscriptions and jobs the node takes on.
//!
//! A refused request of a client never enters the log; a refused subscription is a fact of the
//! chain, so its reason is state ([`crate::subscription::Standing::Refused`]).

use alloc::{collections::BTreeMap, string::String, vec, vec::Vec};
use core::fmt;

use serde::{Deserialize, Serialize};
use tiny_keccak::{Hasher, Keccak};

use crate::{
    config::{ClientId, Config, ContainerConfig},
    event::Subscription,
    limits::{ARRANGEMENTS_MAX, JOB_CONTAINERS_MAX},
    machine::Refusal,
    types::{Address, Amount, Hash},
};

/// Why a subscription is not served.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Reason {
    /// The node serves no chain.
    ChainNotEnabled,
    /// No configured container or chain of containers has this hash.
    ContainerNotSupported,
    /// The first container of the chain is not external.
    FirstContainerNotExternal,
    /// A verifier is set and the last container makes no proofs.
    NoProof,
    /// The owner is not among the allowed ones of a container.
    OwnerNotAllowed,
    /// A container does not take this token.
    TokenNotAccepted,
    /// The price is below what the containers ask together.
    PriceTooLow,
    /// It pays, and the node has no wallet to be paid into.
    NoPaymentWallet,
    /// Its verifier is not among the accepted ones.
    VerifierNotAccepted,
    /// Its stake would be more than the cap of its token.
    StakeAboveCap,
    /// Zero redundancy or frequency: the contract takes no delivery.
    NothingWanted,
    /// The consumer's wallet is not of the factory.
    WalletInvalid,
    /// The consumer's wallet holds less than the price.
    BalanceTooLow,
    /// The owner may spend less than the price from the wallet.
    AllowanceTooLow,
    /// Its intervals are over before a delivery could be included with its margin.
    PeriodTooShort,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChainNotEnabled => "chain not enabled",
            Self::ContainerNotSupported => "container not supported",
            Self::FirstContainerNotExternal => "first container must be external",
            Self::NoProof => "container does not generate proof",
            Self::OwnerNotAllowed => "container not allowed for address",
            Self::TokenNotAccepted => "payment token not accepted",
            Self::PriceTooLow => "price below the containers' minimum",
            Self::NoPaymentWallet => "no payment wallet configured",
            Self::VerifierNotAccepted => "verifier not accepted",
            Self::StakeAboveCap => "stake above the cap of its token",
            Self::NothingWanted => "zero redundancy or frequency",
            Self::WalletInvalid => "consumer's wallet is not of the factory",
            Self::BalanceTooLow => "consumer's wallet holds less than the price",
            Self::AllowanceTooLow => "consumer's allowance is below the price",
            Self::PeriodTooShort => "period too short to be answered within",
        })
    }
}

/// `keccak256(abi.encode(string))` of the comma-joined ids (`docs/spec/contracts.md` 0).
#[must_use]
pub fn container_hash<S: AsRef<str>>(ids: &[S]) -> Hash {
    let joined: usize = ids
        .iter()
        .map(|id| id.as_ref().len().saturating_add(1))
        .fold(0, usize::saturating_add)
        .saturating_sub(1);
    let mut head = [0; 64];
    if let Some(offset) = head.get_mut(31) {
        *offset = 32;
    }
    if let Some(length) = head.get_mut(56..64) {
        length.copy_from_slice(&u64::try_from(joined).unwrap_or(u64::MAX).to_be_bytes());
    }
    let mut keccak = Keccak::v256();
    keccak.update(&head);
    for (place, id) in ids.iter().enumerate() {
        if place > 0 {
            keccak.update(b",");
        }
        keccak.update(id.as_ref().as_bytes());
    }
    let padding = joined
        .checked_rem(32)
        .map_or(0, |over| (32_usize.saturating_sub(over)) & 31);
    keccak.update([0; 32].get(..padding).unwrap_or_default());
    let mut hash = [0; 32];
    keccak.finalize(&mut hash);
    Hash(hash)
}

/// The configured containers by id and by hash: derived from the configuration, never persisted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Catalog {
    by_id: BTreeMap<String, usize>,
    by_hash: BTreeMap<Hash, Vec<usize>>,
}

impl Catalog {
    /// Hashes each container, each declared chain, and the permutations up to the configured
    /// length. The longest permutations are left out where all of them would be more than
    /// [`ARRANGEMENTS_MAX`], so that the cost is bounded whatever the number of containers.
    pub(crate) fn new(config: &Config) -> Self {
        let mut catalog = Self::default();
        for (place, container) in config.containers.iter().enumerate() {
            catalog.by_id.entry(container.id.clone()).or_insert(place);
        }
        let places: Vec<usize> = catalog.by_id.values().copied().collect();
        for place in &places {
            catalog.add(config, vec![*place]);
        }
        for chain in &config.chains {
            let places: Option<Vec<usize>> = chain
                .iter()
                .map(|id| catalog.by_id.get(id).copied())
                .collect();
            if let Some(places) = places.filter(|places| !places.is_empty()) {
                catalog.add(config, places);
            }
        }
        let mut arrangements: Vec<Vec<usize>> = places.iter().map(|place| vec![*place]).collect();
        let mut total = arrangements.len();
        for length in 2..=usize::from(config.permutation_length_max) {
            let further = places.len().saturating_sub(length.saturating_sub(1));
            let count = arrangements.len().saturating_mul(further);
            total = total.saturating_add(count);
            if count == 0 || total > ARRANGEMENTS_MAX {
                break;
            }
            let mut longer = Vec::with_capacity(count);
            for arrangement in &arrangements {
                for place in places.iter().filter(|place| !arrangement.contains(place)) {
                    let mut next = arrangement.clone();
                    next.push(*place);
                    catalog.add(config, next.clone());
                    longer.push(next);
                }
            }
            arrangements = longer;
        }
        catalog
    }

    fn add(&mut self, config: &Config, places: Vec<usize>) {
        let ids: Vec<&str> = places
            .iter()
            .filter_map(|place| config.containers.get(*place))
            .map(|container| container.id.as_str())
            .collect();
        self.by_hash.entry(container_hash(&ids)).or_insert(places);
    }

    /// A configured container by id.
    pub(crate) fn container<'c>(
        &self,
        config: &'c Config,
        id: &str,
    ) -> Option<&'c ContainerConfig> {
        self.by_id
            .get(id)
            .and_then(|place| config.containers.get(*place))
    }

    /// The configured containers behind a hash, in order.
    pub(crate) fn chain<'c>(
        &'c self,
        config: &'c Config,
        hash: &Hash,
    ) -> impl DoubleEndedIterator<Item = &'c ContainerConfig> + Clone {
        self.by_hash
            .get(hash)
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .filter_map(|place| config.containers.get(*place))
    }
}

/// Judges a subscription by what stands in its record alone.
///
/// # Errors
/// The first reason against it.
pub(crate) fn admit(
    config: &Config,
    catalog: &Catalog,
    subscription: &Subscription,
    delegated: bool,
) -> Result<(), Reason> {
    let chain = config.chain.as_ref().ok_or(Reason::ChainNotEnabled)?;
    let containers = catalog.chain(config, &subscription.container_id);
    let mut ends = containers.clone();
    let first = ends.next().ok_or(Reason::ContainerNotSupported)?;
    let last = ends.next_back().unwrap_or(first);
    if !first.external {
        return Err(Reason::FirstContainerNotExternal);
    }
    let verified = !subscription.verifier.is_zero();
    if verified && !last.generates_proofs {
        return Err(Reason::NoProof);
    }
    let allowed = |list: &[Address]| list.is_empty() || list.contains(&subscription.owner);
    if !containers.clone().all(|container| {
        allowed(&container.allowed_addresses)
            && (!delegated || allowed(&container.allowed_delegate_addresses))
    }) {
        return Err(Reason::OwnerNotAllowed);
    }
    if subscription.redundancy == 0 || subscription.frequency == 0 {
        return Err(Reason::NothingWanted);
    }
    let limits = &config.limits;
    let least = u64::from(limits.closing_margin_s)
        .saturating_add(u64::from(limits.inclusion_delay_s))
        .saturating_add(1);
    if subscription.period != 0 && u64::from(subscription.period) < least {
        return Err(Reason::PeriodTooShort);
    }
    admit_price(containers, subscription)?;
    if subscription.payment_amount.is_zero() {
        return Ok(());
    }
    if chain.payment_wallet.is_none() {
        return Err(Reason::NoPaymentWallet);
    }
    if verified {
        if let Some(accepted) = &config.verifiers
            && !accepted.contains(&subscription.verifier)
        {
            return Err(Reason::VerifierNotAccepted);
        }
        if stake_cap(config, subscription.payment_token)
            .is_some_and(|cap| subscription.payment_amount > cap)
        {
            return Err(Reason::StakeAboveCap);
        }
    }
    Ok(())
}

/// The most that may be at stake in a token; `None` without a cap.
pub(crate) fn stake_cap(config: &Config, token: Address) -> Option<Amount> {
    config
        .stake_caps
        .iter()
        .find(|(capped, _)| *capped == token)
        .map(|(_, cap)| *cap)
}

/// Token accepted by each container, and the price at least the sum of their minimums.
fn admit_price<'c>(
    containers: impl Iterator<Item = &'c ContainerConfig>,
    subscription: &Subscription,
) -> Result<(), Reason> {
    let mut least = Amount::ZERO;
    for container in containers {
        if container.accepted_payments.is_empty() {
            continue;
        }
        let (_, price) = container
            .accepted_payments
            .iter()
            .find(|(token, _)| *token == subscription.payment_token)
            .ok_or(Reason::TokenNotAccepted)?;
        least = least.checked_add(*price).ok_or(Reason::PriceTooLow)?;
    }
    if subscription.payment_amount < least {
        return Err(Reason::PriceTooLow);
    }
    Ok(())
}

/// Judges what the consumer's wallet can pay.
///
/// # Errors
/// The first reason against it.
pub(crate) fn admit_payer(
    price: Amount,
    valid: bool,
    balance: Amount,
    allowance: Amount,
) -> Result<(), Reason> {
    if !valid {
        Err(Reason::WalletInvalid)
    } else if balance < price {
        Err(Reason::BalanceTooLow)
    } else if allowance < price {
        Err(Reason::AllowanceTooLow)
    } else {
        Ok(())
    }
}

/// The profit guard: whether a price covers the gas, where the token has a rate. As much is
/// enough.
///
/// `gas_cost` is in wei; a rate is the value of one smallest unit in wei times 10^18.
pub(crate) fn profitable(config: &Config, token: Address, price: Amount, gas_cost: Amount) -> bool {
    /// The unit of a rate.
    const RATE_UNIT: u128 = 1_000_000_000_000_000_000;
    if price.is_zero() {
        return true; // Free work is a matter of `accepted_payments`, not of profit.
    }
    let unit = Amount::from(RATE_UNIT);
    let configured = config
        .rates
        .iter()
        .find(|(rated, _)| *rated == token)
        .map(|(_, rate)| *rate);
    let rate = match configured {
        Some(rate) => rate,
        None if token.is_zero() && !config.rates.is_empty() => unit,
        None => return true,
    };
    // A price whose value does not fit 256 bits covers any gas that does.
    match (price.checked_mul(rate), gas_cost.checked_mul(unit)) {
        (Some(value), Some(cost)) => value >= cost,
        (None, _) => true,
        (Some(_), None) => false,
    }
}

/// Judges a client's job, in the order of `docs/spec/rest.md`.
///
/// # Errors
/// The first refusal.
pub(crate) fn admit_job(
    config: &Config,
    catalog: &Catalog,
    containers: &[String],
    client: ClientId,
    requires_proof: bool,
) -> Result<(), Refusal> {
    let (Some(first), Some(last)) = (containers.first(), containers.last()) else {
        return Err(Refusal::NoContainers);
    };
    if containers.len() > JOB_CONTAINERS_MAX {
        return Err(Refusal::TooManyContainers {
            count: containers.len(),
        });
    }
    for id in containers {
        if catalog.container(config, id).is_none() {
            return Err(Refusal::ContainerNotSupported {
                container: id.clone(),
            });
        }
    }
    let known = |id: &String| catalog.container(config, id);
    if known(first).is_some_and(|container| !container.external) {
        return Err(Refusal::FirstContainerNotExternal {
            container: first.clone(),
        });
    }
    if requires_proof && known(last).is_some_and(|container| !container.generates_proofs) {
        return Err(Refusal::NoProof {
            container: last.clone(),
        });
    }
    for id in containers {
        if known(id).is_some_and(|container| {
            !container.allowed_clients.is_empty() && !container.allowed_clients.contains(&client)
        }) {
            return Err(Refusal::NotAllowed {
                container: id.clone(),
            });
        }
    }
    Ok(())
}
