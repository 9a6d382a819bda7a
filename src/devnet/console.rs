//! `console.log`: what contracts write during a mined transaction.
//!
//! A library contract calls an address that has no code, with the message as calldata of
//! `log(…)`; the call succeeds and does nothing. Up to four parameters, each `string`, `uint256`,
//! `bool` or `address`; alone also `int256`, `bytes` and `bytesN`. The first string may be a format
//! with `%s`, `%d`, `%i`, `%o`, `%x` and `%%`.

use std::collections::HashMap;
use std::sync::LazyLock;

use alloy::primitives::{Address, B256, I256, U256, address, hex, keccak256};
use revm::Inspector;
use revm::context_interface::ContextTr;
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::{CallInputs, CallOutcome};

use super::limits::{CONSOLE_MESSAGE_BYTES_MAX, CONSOLE_MESSAGES_PER_TX_MAX};

/// The address that `console.log` calls: "console.log" in ASCII.
pub const CONSOLE_ADDRESS: Address = address!("0x000000000000000000636F6e736F6c652e6c6f67");

/// A line that a contract wrote while its transaction was mined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleMessage {
    /// The block.
    pub block_number: u64,
    /// The transaction.
    pub transaction_hash: B256,
    /// Position among the messages of the transaction, from 0.
    pub index: u32,
    /// The text, at most [`CONSOLE_MESSAGE_BYTES_MAX`] bytes.
    pub text: String,
}

/// Collects console messages while a transaction runs.
#[derive(Debug, Default)]
pub(super) struct Collector {
    /// The messages so far.
    pub(super) messages: Vec<String>,
}

impl<CTX: ContextTr> Inspector<CTX, EthInterpreter> for Collector {
    fn call(&mut self, context: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        if inputs.target_address == CONSOLE_ADDRESS
            && self.messages.len() < CONSOLE_MESSAGES_PER_TX_MAX
        {
            self.messages.push(decode(&inputs.input.as_bytes(context)));
        }
        None
    }
}

/// A parameter type of `log(…)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    String,
    Uint,
    Bool,
    Address,
    Int,
    Bytes,
    /// `bytesN`.
    FixedBytes(usize),
}

impl Kind {
    fn name(self) -> String {
        match self {
            Self::String => "string".into(),
            Self::Uint => "uint256".into(),
            Self::Bool => "bool".into(),
            Self::Address => "address".into(),
            Self::Int => "int256".into(),
            Self::Bytes => "bytes".into(),
            Self::FixedBytes(size) => format!("bytes{size}"),
        }
    }
}

/// Every signature of `log(…)`, by selector. The library's older form spells `uint256` as `uint`,
/// which gives another selector.
static SIGNATURES: LazyLock<HashMap<[u8; 4], Vec<Kind>>> = LazyLock::new(|| {
    let mut lists: Vec<Vec<Kind>> = vec![vec![]];
    let mut longest = lists.clone();
    for _ in 0..4 {
        longest = longest
            .iter()
            .flat_map(|list| {
                [Kind::String, Kind::Uint, Kind::Bool, Kind::Address]
                    .map(|kind| [list.as_slice(), &[kind]].concat())
            })
            .collect();
        lists.extend(longest.iter().cloned());
    }
    lists.push(vec![Kind::Int]);
    lists.push(vec![Kind::String, Kind::Int]);
    lists.push(vec![Kind::Bytes]);
    lists.extend((1..=32).map(|size| vec![Kind::FixedBytes(size)]));

    let mut signatures = HashMap::new();
    for list in lists {
        let names = list
            .iter()
            .map(|kind| kind.name())
            .collect::<Vec<_>>()
            .join(",");
        for names in [names.replace("int256", "int"), names] {
            let hash = keccak256(format!("log({names})"));
            signatures.insert([hash[0], hash[1], hash[2], hash[3]], list.clone());
        }
    }
    signatures
});

/// A decoded parameter.
#[derive(Debug)]
enum Value {
    Text(String),
    Uint(U256),
    Int(I256),
    Other(String),
}

impl Value {
    fn plain(&self) -> String {
        match self {
            Self::Text(text) | Self::Other(text) => text.clone(),
            Self::Uint(number) => number.to_string(),
            Self::Int(number) => number.to_string(),
        }
    }

    fn formatted(&self, verb: char) -> String {
        match (verb, self) {
            ('x', Self::Uint(number)) => format!("{number:#x}"),
            ('o', Self::Uint(number)) => format!("{number:#o}"),
            ('d' | 'i', Self::Text(_)) => "NaN".into(),
            _ => self.plain(),
        }
    }
}

/// The text of one call to the console.
pub(super) fn decode(calldata: &[u8]) -> String {
    let mut text = readable(calldata)
        .unwrap_or_else(|| format!("unknown console call {}", hex::encode_prefixed(calldata)));
    if text.len() > CONSOLE_MESSAGE_BYTES_MAX {
        let mut end = CONSOLE_MESSAGE_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

fn readable(calldata: &[u8]) -> Option<String> {
    let (selector, arguments) = calldata.split_first_chunk::<4>()?;
    let values = SIGNATURES
        .get(selector)?
        .iter()
        .enumerate()
        .map(|(position, kind)| value(arguments, position, *kind))
        .collect::<Option<Vec<_>>>()?;
    Some(join(&values))
}

fn word(arguments: &[u8], offset: usize) -> Option<&[u8; 32]> {
    arguments.get(offset..)?.first_chunk::<32>()
}

fn value(arguments: &[u8], position: usize, kind: Kind) -> Option<Value> {
    let head = word(arguments, position * 32)?;
    Some(match kind {
        Kind::Uint => Value::Uint(U256::from_be_bytes(*head)),
        Kind::Int => Value::Int(I256::from_be_bytes(*head)),
        Kind::Bool => Value::Other((U256::from_be_bytes(*head) != U256::ZERO).to_string()),
        Kind::Address => Value::Other(Address::from_slice(&head[12..]).to_checksum(None)),
        Kind::FixedBytes(size) => Value::Other(hex::encode_prefixed(&head[..size])),
        Kind::String => Value::Text(String::from_utf8_lossy(tail(arguments, head)?).into_owned()),
        Kind::Bytes => Value::Other(hex::encode_prefixed(tail(arguments, head)?)),
    })
}

/// The bytes of a dynamic parameter whose head is `head`.
fn tail<'a>(arguments: &'a [u8], head: &[u8; 32]) -> Option<&'a [u8]> {
    let offset = usize::try_from(U256::from_be_bytes(*head)).ok()?;
    let length = usize::try_from(U256::from_be_bytes(*word(arguments, offset)?)).ok()?;
    let start = offset.checked_add(32)?;
    arguments.get(start..start.checked_add(length)?)
}

/// Fills the format string, if the first value is one; further values follow after spaces.
fn join(values: &[Value]) -> String {
    let mut rest = values.iter();
    let mut text = String::new();
    match rest.next() {
        None => return text,
        Some(Value::Text(format)) if values.len() > 1 => {
            let mut letters = format.chars().peekable();
            while let Some(letter) = letters.next() {
                match (letter, letters.peek().copied()) {
                    ('%', Some('%')) => {
                        letters.next();
                        text.push('%');
                    }
                    ('%', Some(verb @ ('s' | 'd' | 'i' | 'o' | 'x'))) => {
                        letters.next();
                        match rest.next() {
                            Some(value) => text.push_str(&value.formatted(verb)),
                            None => text.extend(['%', verb]),
                        }
                    }
                    _ => text.push(letter),
                }
            }
        }
        Some(first) => text.push_str(&first.plain()),
    }
    for value in rest {
        text.push(' ');
        text.push_str(&value.plain());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::Bytes;
    use alloy::sol_types::SolValue;

    fn calldata(types: &str, arguments: Vec<u8>) -> Vec<u8> {
        [keccak256(format!("log({types})"))[..4].to_vec(), arguments].concat()
    }

    #[test]
    fn messages_read_as_in_other_development_chains() {
        let text = |text: &str| text.to_string();
        let someone = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        let cases = [
            (calldata("", vec![]), ""),
            (
                calldata("string", (text("100 % sure %s"),).abi_encode_params()),
                "100 % sure %s",
            ),
            (
                calldata("uint256", (U256::from(7),).abi_encode_params()),
                "7",
            ),
            (calldata("uint", (U256::from(7),).abi_encode_params()), "7"),
            (
                calldata("int256", I256::try_from(-7).unwrap().abi_encode()),
                "-7",
            ),
            (
                calldata(
                    "bytes",
                    (Bytes::from_static(&[1, 0xfe]),).abi_encode_params(),
                ),
                "0x01fe",
            ),
            (
                calldata("bytes4", [[1u8, 2, 3, 4].as_slice(), &[0; 28]].concat()),
                "0x01020304",
            ),
            (
                calldata("address", someone.abi_encode()),
                "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            ),
            (
                calldata(
                    "string,uint256",
                    (text("gas"), U256::from(21)).abi_encode_params(),
                ),
                "gas 21",
            ),
            (
                calldata(
                    "string,uint256",
                    (text("gas: %d%%"), U256::from(21)).abi_encode_params(),
                ),
                "gas: 21%",
            ),
            (
                calldata(
                    "string,address,bool",
                    (text("%s?"), someone, true).abi_encode_params(),
                ),
                "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266? true",
            ),
            (
                calldata(
                    "string,string,uint256,uint256",
                    (
                        text("%s is %x, %d"),
                        text("it"),
                        U256::from(255),
                        U256::from(1),
                    )
                        .abi_encode_params(),
                ),
                "it is 0xff, 1",
            ),
        ];
        for (calldata, text) in cases {
            assert_eq!(decode(&calldata), text);
        }
    }

    #[test]
    fn hostile_calldata_is_shown_raw_and_short() {
        let mut hostile = calldata("string", ("x".to_string(),).abi_encode_params());
        hostile[4..36].fill(0xff);
        assert!(decode(&hostile).starts_with("unknown console call 0x41304fac"));
        assert_eq!(decode(&[1, 2, 3]), "unknown console call 0x010203");
        let long = ("é".repeat(CONSOLE_MESSAGE_BYTES_MAX),).abi_encode_params();
        assert_eq!(
            decode(&calldata("string", long)).len(),
            CONSOLE_MESSAGE_BYTES_MAX
        );
    }
}
