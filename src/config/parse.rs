//! Addresses, amounts and rates of a configuration.

use std::{collections::BTreeMap, str::FromStr};

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

#[cfg(test)]
mod tests {
    use super::*;

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
