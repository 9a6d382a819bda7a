//! What an explanation is asked about.

use std::{fmt, str::FromStr};

use infernet_state::types::{Hash, JobId, SubscriptionId};

use super::AuditError;

/// A job, a subscription or a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// A client's job, by its id.
    Job(JobId),
    /// A subscription, by its id on chain.
    Subscription(SubscriptionId),
    /// A transaction of the node's account, by its hash.
    Transaction(Hash),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(job) => write!(f, "job {job}"),
            Self::Subscription(id) => write!(f, "subscription {id}"),
            Self::Transaction(tx) => write!(f, "transaction {tx}"),
        }
    }
}

impl FromStr for Subject {
    type Err = AuditError;

    /// `job:UUID`, `sub:ID`, `tx:0xHASH`; without the kind, what it can only be.
    fn from_str(text: &str) -> Result<Self, AuditError> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (Some(kind), rest),
            None => (None, text),
        };
        let job = || uuid(rest).map(Self::Job);
        let subscription = || Some(Self::Subscription(SubscriptionId(rest.parse().ok()?)));
        let transaction = || bytes(rest).map(|hash| Self::Transaction(Hash(hash)));
        let found = match kind {
            Some("job") => job(),
            Some("sub") => subscription(),
            Some("tx") => transaction(),
            Some(_) => None,
            // An id is at most ten digits long, a UUID has 32 and a hash 64.
            None => subscription().or_else(job).or_else(transaction),
        };
        found.ok_or_else(|| AuditError::Subject {
            text: text.to_owned(),
        })
    }
}

/// The bytes of a UUID, with or without dashes.
fn uuid(text: &str) -> Option<JobId> {
    let dashes = text.bytes().filter(|byte| *byte == b'-').count();
    let placed = text
        .bytes()
        .enumerate()
        .all(|(at, byte)| byte != b'-' || matches!(at, 8 | 13 | 18 | 23));
    if !(dashes == 0 || dashes == 4 && placed) {
        return None;
    }
    bytes(&text.replace('-', "")).map(JobId)
}

/// Exactly `N` bytes in hexadecimal, with or without `0x`.
pub(crate) fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mut bytes = [0; N];
    alloy::hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0191e6a4-7c1b-4f0e-9d53-0123456789ab";
    const TX: &str = "0xb5c8bd9430b6cc87a0e2fe110ece6bf527fa4f170a4bc8cd032f768fc5219838";

    #[test]
    fn the_kind_is_guessed_where_it_is_clear() {
        let parse = |text: &str| text.parse::<Subject>().expect(text);
        assert_eq!(parse(&format!("job:{UUID}")), parse(UUID));
        assert_eq!(parse(UUID), parse(&UUID.replace('-', "")));
        assert_eq!(parse(&format!("tx:{TX}")), parse(TX));
        assert_eq!(parse(TX), parse(&TX[2..]));
        assert_eq!(parse("sub:7"), parse("7"));
        assert_eq!(parse("7"), Subject::Subscription(SubscriptionId(7)));
        assert_eq!(parse(UUID).to_string(), format!("job {UUID}"));
        assert_eq!(parse(TX).to_string(), format!("transaction {TX}"));
    }

    #[test]
    fn what_is_no_subject_is_refused() {
        for text in [
            "",
            "sub:",
            "sub:x",
            "job:7",
            "tx:7",
            "block:7",
            "4294967296",
            &TX[..40],
            "0191e6a47-c1b4-f0e9-d53-0123456789ab",
        ] {
            let error = text.parse::<Subject>().expect_err(text).to_string();
            assert!(error.starts_with("E-AUDIT-006"), "{error}");
        }
    }
}
