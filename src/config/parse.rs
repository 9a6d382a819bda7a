//! Addresses, amounts and rates of a configuration.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use alloy::primitives::{U256, utils::parse_units};
use infernet_state::types::{Address, Amount};

use super::ConfigError;

/// Parses an address of a configuration.
///
/// # Errors
/// [`ConfigError::Invalid`], naming the field.
pub fn address(field: &str, text: &str) -> Result<Address, ConfigError> {
    alloy::primitives::Address::from_str(text)
        .map(|address| Address(address.into_array()))
        .map_err(|error| ConfigError::Invalid {
            field: field.to_owned(),
            reason: format!("`{text}` is no address (0x and 40 hexadecimal digits): {error}"),
        })
}

/// A list of addresses.
pub(super) fn addresses(field: &str, list: &[String]) -> Result<Vec<Address>, ConfigError> {
    list.iter().map(|text| address(field, text)).collect()
}

/// An amount in the smallest unit of a token.
pub(super) fn amount(field: &str, text: &str) -> Result<Amount, ConfigError> {
    U256::from_str_radix(text, 10)
        .map(Amount)
        .map_err(|error| ConfigError::Invalid {
            field: field.to_owned(),
            reason: format!("`{text}` is no amount in decimal digits: {error}"),
        })
}

/// Digits of a rate behind the point.
const RATE_DIGITS: u8 = 18;

/// What the smallest unit of a token is worth in wei, as [`infernet_state::Config::rates`] has it:
/// times 10^18.
pub(super) fn rate(field: &str, text: &str) -> Result<Amount, ConfigError> {
    let invalid = |reason: String| ConfigError::Invalid {
        field: field.to_owned(),
        reason: format!("`{text}` is no rate in wei, like 400000000 or 0.25: {reason}"),
    };
    let (_, digits) = text.split_once('.').unwrap_or((text, ""));
    if digits.len() > usize::from(RATE_DIGITS) {
        return Err(invalid(format!(
            "it has more than {RATE_DIGITS} digits behind the point"
        )));
    }
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(invalid("it begins with no digit".to_owned()));
    }
    parse_units(text, RATE_DIGITS)
        .map(|rate| Amount(rate.get_absolute()))
        .map_err(|error| invalid(error.to_string()))
}

/// Something of each token, by its address.
pub(super) fn by_token(
    field: &str,
    map: &BTreeMap<String, String>,
    parse: fn(&str, &str) -> Result<Amount, ConfigError>,
) -> Result<Vec<(Address, Amount)>, ConfigError> {
    let mut out: Vec<(Address, Amount)> = Vec::with_capacity(map.len());
    for (token, text) in map {
        let token_address = address(field, token)?;
        if out.iter().any(|(other, _)| *other == token_address) {
            return Err(ConfigError::Invalid {
                field: field.to_owned(),
                reason: format!("`{token}` is there already, in other letters"),
            });
        }
        out.push((token_address, parse(field, text)?));
    }
    Ok(out)
}

/// Clients that one entry of a list may stand for. Each has a hash of its own in the log, and all
/// lists together fit one record.
const NETWORK_CLIENTS_MAX: u32 = 1_024;

/// The clients of an address (`10.0.0.7`) or a network (`10.0.0.0/24`), one address each, as
/// [`crate::api::ClientKey`] tells them apart: an IPv6 network of 64 bits is one.
pub(super) fn clients(field: &str, text: &str) -> Result<Vec<IpAddr>, ConfigError> {
    let invalid = |reason: String| ConfigError::Invalid {
        field: field.to_owned(),
        reason: format!("`{text}` {reason}"),
    };
    let no_address = || {
        invalid("is neither an IP address nor a network like 10.0.0.0/24 or 2001:db8::/64".into())
    };
    let (address, prefix) = match text.split_once('/') {
        None => (text, None),
        Some((address, prefix)) => (
            address,
            Some(prefix.parse::<u32>().map_err(|_| no_address())?),
        ),
    };
    let address: IpAddr = address.parse().map_err(|_| no_address())?;
    let Some(prefix) = prefix else {
        return Ok(vec![match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(network(v6_number(address))),
        }]);
    };
    // What is told apart: the whole of an IPv4 address, the first 64 bits of an IPv6 address.
    let (bits, number) = match address {
        IpAddr::V4(address) => (32, u64::from(u32::from(address))),
        IpAddr::V6(address) => (64, v6_number(address)),
    };
    if prefix > bits && address.is_ipv6() {
        return Err(invalid(format!(
            "is less than the {bits} bits by which IPv6 clients are told apart; write the \
             network of {bits} bits, or an IPv4 network as one"
        )));
    }
    let count = bits
        .checked_sub(prefix)
        .map(|wild| 1_u64.checked_shl(wild).unwrap_or(u64::MAX))
        .ok_or_else(no_address)?;
    if count > u64::from(NETWORK_CLIENTS_MAX) {
        return Err(invalid(format!(
            "is more than {NETWORK_CLIENTS_MAX} clients, and the log keeps a hash of each; list \
             smaller networks, or leave large ones to a firewall"
        )));
    }
    let tail = match address {
        IpAddr::V4(_) => 0,
        IpAddr::V6(address) => u128::from(address) << 64,
    };
    if number % count != 0 || tail != 0 {
        return Err(invalid(format!(
            "has bits behind the first {prefix}; write the network's first address"
        )));
    }
    (0..count)
        .map(|place| number.saturating_add(place))
        .map(|number| match address {
            IpAddr::V4(_) => u32::try_from(number)
                .map(|number| IpAddr::V4(Ipv4Addr::from(number)))
                .map_err(|_| no_address()),
            IpAddr::V6(_) => Ok(IpAddr::V6(network(number))),
        })
        .collect()
}

/// The first 64 bits of an IPv6 address.
fn v6_number(address: Ipv6Addr) -> u64 {
    let [a, b, c, d, ..] = address.segments();
    [a, b, c, d]
        .iter()
        .fold(0, |number, part| number << 16 | u64::from(*part))
}

/// The first address of an IPv6 network of 64 bits.
fn network(number: u64) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(number) << 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_listed_as_they_are_told_apart() {
        let parsed = |text| -> Vec<String> {
            let list = clients("allowed_ips", text).expect(text);
            list.iter().map(ToString::to_string).collect()
        };
        assert_eq!(parsed("10.0.0.7"), ["10.0.0.7"]);
        assert_eq!(parsed("::ffff:10.0.0.7"), ["10.0.0.7"]);
        assert_eq!(parsed("10.0.0.6/31"), ["10.0.0.6", "10.0.0.7"]);
        assert_eq!(parsed("10.0.0.7/32"), ["10.0.0.7"]);
        assert_eq!(parsed("255.255.252.0/22").len(), 1024);
        assert_eq!(parsed("2001:db8:1:2::7"), ["2001:db8:1:2::"]);
        assert_eq!(parsed("2001:db8:1:2::/64"), ["2001:db8:1:2::"]);
        assert_eq!(
            parsed("ffff:ffff:ffff:fffe::/63"),
            ["ffff:ffff:ffff:fffe::", "ffff:ffff:ffff:ffff::"]
        );
        for (text, named) in [
            ("", "neither"),
            ("localhost", "neither"),
            ("10.0.0.0/33", "neither"),
            ("10.0.0.0/-1", "neither"),
            ("10.0.0.0/", "neither"),
            ("10.0.0.7/24", "bits behind"),
            ("10.0.0.0/21", "1024 clients"),
            ("0.0.0.0/0", "1024 clients"),
            ("::/0", "1024 clients"),
            ("2001:db8::/48", "1024 clients"),
            ("2001:db8::/65", "64 bits"),
            ("::ffff:10.0.0.0/120", "64 bits"),
            ("2001:db8::7/64", "bits behind"),
        ] {
            let error = clients("allowed_ips", text).expect_err(text).to_string();
            assert!(error.contains(named), "{error} has `{named}`");
            assert!(error.contains("allowed_ips"), "{error}");
        }
    }

    #[test]
    fn a_rate_counts_in_parts_of_a_wei() {
        let parsed = |text| rate("rates", text).map(|rate| rate.0.to_string());
        assert_eq!(parsed("1").unwrap(), "1000000000000000000");
        assert_eq!(parsed("0.000000000000000001").unwrap(), "1");
        assert_eq!(
            parsed("400000000.5").unwrap(),
            "400000000500000000000000000"
        );
        for text in ["-1", "", "one", "0.0000000000000000001", "1e9"] {
            let error = parsed(text).expect_err(text).to_string();
            assert!(error.contains("rates"), "{error}");
        }
    }

    #[test]
    fn a_token_stands_once() {
        let token = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
        let twice = BTreeMap::from([
            (token.to_owned(), "1".to_owned()),
            (token.to_lowercase(), "2".to_owned()),
        ]);
        let error = by_token("stake_caps", &twice, amount).expect_err("twice");
        assert!(error.to_string().contains("stake_caps"), "{error}");
        let once = BTreeMap::from([(token.to_owned(), "7".to_owned())]);
        let parsed = by_token("stake_caps", &once, amount).unwrap();
        assert_eq!(parsed, [(address("", token).unwrap(), Amount::from(7))]);
    }
}
