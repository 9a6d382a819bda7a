//! How large a configuration may be.

use infernet_state::{
    Event,
    codec::{self, CodecError, EVENT_BYTES_MAX},
    config::{ChainConfig, Config},
    types::Address,
};

use super::ConfigError;

/// What decides is one record of the log, whatever the chain will say of its contracts.
pub(super) fn fits(config: &Config) -> Result<(), ConfigError> {
    let widest = Config {
        chain: Some(ChainConfig {
            chain_id: u64::MAX,
            registry: Address::ZERO,
            coordinator: Address::ZERO,
            wallet_factory: Address::ZERO,
            fee_recipient: Address::ZERO,
            node: Address::ZERO,
            payment_wallet: Some(Address::ZERO),
            trail_head_blocks: u64::MAX,
            delivery_batch_max: u16::MAX,
            max_fee_per_gas_cap: u128::MAX,
            gas_limit_max: u64::MAX,
        }),
        ..config.clone()
    };
    let Err(CodecError::TooLarge { len, .. }) = codec::encode(&Event::ConfigChanged(widest)) else {
        return Ok(());
    };
    Err(ConfigError::Invalid {
        field: largest_field(config),
        reason: format!(
            "it is the largest part of what is recorded of this configuration, {len} bytes, \
             where {EVENT_BYTES_MAX} is the most; shorten it"
        ),
    })
}

/// The dotted name of the field that takes the most bytes of a record.
fn largest_field(config: &Config) -> String {
    const ADDRESS: usize = 21;
    const PAYMENT: usize = 54;
    const CLIENT: usize = 17;
    let words = |list: &[String]| list.iter().map(|word| word.len() + 1).sum::<usize>();
    let chains = config.chains.iter().map(|chain| words(chain) + 1).sum();
    let verifiers = config.verifiers.as_ref().map_or(0, Vec::len) * ADDRESS;
    let of_containers = config.containers.iter().enumerate().flat_map(|(at, one)| {
        [
            ("id", one.id.len()),
            ("description", one.description.len()),
            ("image", one.image.len()),
            ("allowed_addresses", one.allowed_addresses.len() * ADDRESS),
            (
                "allowed_delegate_addresses",
                one.allowed_delegate_addresses.len() * ADDRESS,
            ),
            ("allowed_ips", one.allowed_clients.len() * CLIENT),
            ("accepted_payments", one.accepted_payments.len() * PAYMENT),
        ]
        .map(|(name, bytes)| (bytes, format!("containers[{at}].{name}")))
    });
    [
        (chains, "chains".to_owned()),
        (verifiers, "verifiers".to_owned()),
        (config.stake_caps.len() * PAYMENT, "stake_caps".to_owned()),
        (config.rates.len() * PAYMENT, "rates".to_owned()),
    ]
    .into_iter()
    .chain(of_containers)
    .max()
    .map_or_else(String::new, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::parse, *};

    #[test]
    fn what_fits_no_record_is_named() {
        let addresses = |count: usize| {
            let list: Vec<String> = (0..count).map(|n| format!("\"0x{n:040x}\"")).collect();
            format!("[{}]", list.join(","))
        };
        let container = "[[containers]]\nid = \"a\"\nurl = \"http://x\"\n";
        for (text, named) in [
            (format!("verifiers = {}", addresses(3_300)), "verifiers"),
            (
                format!(
                    "{container}[[containers]]\nid = \"b\"\nurl = \"http://x\"\nallowed_addresses = {}",
                    addresses(3_300)
                ),
                "containers[1].allowed_addresses",
            ),
            (
                format!(
                    "{container}allowed_ips = [{}]",
                    (0..4)
                        .map(|n| format!("\"10.0.{}.0/22\"", 4 * n))
                        .collect::<Vec<_>>()
                        .join(",")
                ),
                "containers[0].allowed_ips",
            ),
            (
                format!("{container}description = \"{}\"", "d".repeat(66_000)),
                "containers[0].description",
            ),
        ] {
            let error = parse(&text).err().map(|error| error.to_string());
            let names = error.as_ref().is_some_and(|error| error.contains(named));
            assert!(names, "{error:?} names {named}");
        }
        // As many as there is room for are read again from the log.
        let config = parse(&format!(
            "{container}allowed_addresses = {}",
            addresses(3_000)
        ));
        let event = Event::ConfigChanged(config.expect("room"));
        let encoded = codec::encode(&event).expect("small enough");
        let decoded = codec::decode(encoded.kind, encoded.version, &encoded.body);
        assert!(decoded == Ok(event));
    }
}
