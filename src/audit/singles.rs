//! What a state has one of, in words: the node, the chain, the account, intake, configuration.

use infernet_state::{Config, Machine, types::BlockRef};

use super::portrait::Facet;
use crate::words::{self, Money};

/// What there is one of.
pub(super) fn singles(machine: &Machine) -> Vec<Facet> {
    let mut all = vec![
        node(machine),
        chain(machine),
        account(machine),
        breaker(machine),
    ];
    all.extend(machine.config().map(configuration));
    all
}

fn node(machine: &Machine) -> Facet {
    let open = machine.pending();
    let cursor = machine
        .sync_cursor()
        .map(|id| format!("next to read: {id}"));
    Facet::new("the node")
        .with("time", words::wall(machine.now()))
        .with(
            "jobs open",
            format!("{} on chain, {} of clients", open.onchain, open.offchain),
        )
        .with("subscriptions", machine.subscriptions().len())
        .with(
            "past subscriptions",
            cursor.unwrap_or_else(|| "all read".into()),
        )
        .with(
            "next look at",
            machine
                .next_deadline()
                .map_or_else(|| "no time".into(), words::wall),
        )
        .with("logic", machine.logic())
        .with("digest of effects", machine.effects_digest())
}

fn chain(machine: &Machine) -> Facet {
    let chain = machine.chain();
    let none = || "none heard of".to_owned();
    Facet::new("the chain")
        .with("head", chain.head.as_ref().map_or_else(none, block))
        .with("final", chain.finalized.as_ref().map_or_else(none, block))
        .with_some(
            "may still go",
            chain
                .unfinalized_from()
                .map(|from| format!("what was learned from block {from} on")),
        )
}

fn account(machine: &Machine) -> Facet {
    use infernet_state::account::Quarantine;

    let account = machine.account();
    let sending = match account.quarantine() {
        Some(Quarantine::ChainAhead { known, observed }) => {
            format!("no: quarantined, the chain has {observed} transactions, the log knows {known}")
        }
        Some(Quarantine::ChainBehind { known, observed }) => {
            format!("no: quarantined, the chain has {observed} transactions, {known} were final")
        }
        None if account.may_send() => "yes".into(),
        None => "not before the account was read in this run".into(),
    };
    Facet::new("the node's account")
        .with("sends", sending)
        .with_some("next nonce", account.next_nonce())
        .with("nonces of others", account.foreign_nonces())
}

fn breaker(machine: &Machine) -> Facet {
    let breaker = machine.breaker();
    Facet::new("intake")
        .with(
            "open",
            words::pause(breaker).map_or_else(|| "yes".into(), |why| format!("no: {why}")),
        )
        .with("losses in a row", breaker.losses)
}

fn configuration(config: &Config) -> Facet {
    let mut facet = Facet::new("the configuration");
    facet = match &config.chain {
        None => facet.with("chain", "none"),
        Some(chain) => facet
            .with("chain", chain.chain_id)
            .with("registry", chain.registry)
            .with("coordinator", chain.coordinator)
            .with("wallet factory", chain.wallet_factory)
            .with("fee recipient", chain.fee_recipient)
            .with("node", chain.node)
            .with(
                "payment wallet",
                chain.payment_wallet.map_or_else(
                    || "none: free work only".into(),
                    |wallet| wallet.to_string(),
                ),
            )
            .with(
                "acts on blocks",
                format!("{} deep", chain.trail_head_blocks),
            )
            .with("batch delivery", chain.delivery_batch_max)
            .with(
                "gas at most",
                format!(
                    "{} at {} wei",
                    chain.gas_limit_max, chain.max_fee_per_gas_cap
                ),
            ),
    };
    for container in &config.containers {
        let prices: Vec<String> = container
            .accepted_payments
            .iter()
            .map(|(token, least)| Money(least, token).to_string())
            .collect();
        let said = [
            (container.external, "external".to_owned()),
            (container.generates_proofs, "makes proofs".to_owned()),
            (!container.rerun, "never run twice".to_owned()),
            (
                !container.allowed_addresses.is_empty(),
                format!("for {} owners only", container.allowed_addresses.len()),
            ),
            (
                !container.allowed_delegate_addresses.is_empty(),
                format!(
                    "for {} delegating owners only",
                    container.allowed_delegate_addresses.len()
                ),
            ),
            (
                !container.allowed_clients.is_empty(),
                format!("for {} clients only", container.allowed_clients.len()),
            ),
            (
                !prices.is_empty(),
                format!("at least {}", prices.join(" or ")),
            ),
        ];
        let said: Vec<String> = said
            .into_iter()
            .filter_map(|(holds, said)| holds.then_some(said))
            .collect();
        facet = facet.with(format!("container {}", container.id), said.join(", "));
    }
    let chains: Vec<String> = config.chains.iter().map(|chain| chain.join(",")).collect();
    let caps: Vec<String> = config
        .stake_caps
        .iter()
        .map(|(token, cap)| Money(cap, token).to_string())
        .collect();
    let rates: Vec<String> = config
        .rates
        .iter()
        .map(|(token, rate)| format!("10^18 units of token {token} are {rate} wei"))
        .collect();
    let limits = &config.limits;
    facet
        .with("chains", joined(&chains, "none declared"))
        .with(
            "permutations",
            format!("of up to {} containers", config.permutation_length_max),
        )
        .with(
            "verifiers",
            config
                .verifiers
                .as_ref()
                .map_or_else(|| "all".into(), |list| joined(list, "none")),
        )
        .with("stake caps", joined(&caps, "none"))
        .with("rates", joined(&rates, "none: no profit guard"))
        .with(
            "attempts at most",
            format!(
                "{} of a container, {} of a delivery",
                limits.container_attempts_max, limits.delivery_attempts_max
            ),
        )
        .with(
            "backs off",
            format!(
                "{} to {} ms",
                limits.retry_backoff_ms, limits.retry_backoff_max_ms
            ),
        )
        .with(
            "higher fee after",
            format!(
                "{} ms, by {} %",
                limits.fee_bump_after_ms, limits.fee_bump_percent
            ),
        )
        .with(
            "jobs expire after",
            format!(
                "{} ms, kept {} ms, at most {}",
                limits.job_expiry_ms, limits.result_age_max_ms, limits.results_max
            ),
        )
        .with("jobs open at most", limits.jobs_open_max)
        .with(
            "delegated, waiting",
            format!("at most {} of a client", limits.delegated_waiting_max),
        )
        .with(
            "margins",
            format!(
                "{} s before an interval ends, {} s until a block",
                limits.closing_margin_s, limits.inclusion_delay_s
            ),
        )
        .with(
            "pauses",
            format!(
                "{} ms after {} losses in a row",
                limits.breaker_pause_ms, limits.breaker_losses
            ),
        )
}

/// A list, or what to say where there is nothing in it.
fn joined(list: &[impl std::fmt::Display], none: &str) -> String {
    if list.is_empty() {
        return none.to_owned();
    }
    let words: Vec<String> = list.iter().map(ToString::to_string).collect();
    words.join("; ")
}

/// A block: height, hash, time.
fn block(block: &BlockRef) -> String {
    format!(
        "block {} ({}) of time {}",
        block.number,
        block.hash,
        words::block_time(block.time)
    )
}
