//! The arguments of `deliverCompute` from a container's answer (`docs/spec/container.md` 3).

use alloy::{primitives::Bytes, sol_types::SolValue as _};
use serde_json::{Map, Value, value::RawValue};

use super::python;

/// The keys of an answer that is meant for the chain, in the order of the arguments.
const KEYS: [&str; 5] = [
    "raw_input",
    "processed_input",
    "raw_output",
    "processed_output",
    "proof",
];

/// The arguments `input`, `output` and `proof` of `deliverCompute`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Packed {
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
    pub(super) proof: Vec<u8>,
}

/// Packs an answer; `raw` is the text that `answer` was parsed from.
///
/// With all five keys: `abi.encode(bytes, bytes)` of the inputs and of the outputs, and the
/// proof's bytes. Otherwise: `abi.encode(string)` of what Python prints of the answer, no input
/// and no proof.
///
/// # Errors
/// In words, when one of the five values is neither `null` nor hexadecimal.
pub(super) fn pack(answer: &Map<String, Value>, raw: &RawValue) -> Result<Packed, String> {
    let [
        Some(raw_input),
        Some(processed_input),
        Some(raw_output),
        Some(processed_output),
        Some(proof),
    ] = KEYS.map(|key| answer.get(key).map(|value| (key, value)))
    else {
        let text = python::repr(raw).map_err(|error| format!("is not JSON: {error}"))?;
        return Ok(Packed {
            input: Vec::new(),
            output: text.abi_encode(),
            proof: Vec::new(),
        });
    };
    Ok(Packed {
        input: (bytes(raw_input)?, bytes(processed_input)?).abi_encode_params(),
        output: (bytes(raw_output)?, bytes(processed_output)?).abi_encode_params(),
        proof: bytes(proof)?.to_vec(),
    })
}

fn bytes((key, value): (&str, &Value)) -> Result<Bytes, String> {
    match value {
        Value::Null => Ok(Bytes::new()),
        Value::String(text) => from_hex(text)
            .map(Bytes::from)
            .map_err(|reason| format!("has a `{key}` that is not hexadecimal: {reason}")),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(format!(
            "has a `{key}` that is neither a string of hexadecimal digits nor null"
        )),
    }
}

/// Python's `bytes.fromhex`: pairs of digits, ASCII white space between pairs.
fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut characters = text.chars().enumerate();
    while let Some((place, high)) = characters.next() {
        if matches!(high, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c') {
            continue;
        }
        let high = digit(place, high)?;
        let Some((place, low)) = characters.next() else {
            return Err("the number of digits is odd".to_owned());
        };
        out.push((high << 4) | digit(place, low)?);
    }
    Ok(out)
}

fn digit(place: usize, character: char) -> Result<u8, String> {
    character
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
        .ok_or_else(|| {
            let hint = if character == 'x' && place == 1 {
                " (digits are sent without 0x)"
            } else {
                ""
            };
            format!("{character:?} at position {place}{hint}")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(json: &str) -> Result<Packed, String> {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        pack(&serde_json::from_str(json).unwrap(), &raw)
    }

    /// One word of the ABI, from a number.
    fn word(number: u8) -> String {
        format!("{number:064x}")
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn five_keys_are_packed_in_pairs() {
        let packed = packed(
            r#"{"raw_input":"ab","processed_input":null,"raw_output":"C0 ff\tee",
                "processed_output":"","proof":"0102","extra":1}"#,
        )
        .unwrap();
        let padded = |digits: &str| format!("{digits:0<64}");
        assert_eq!(
            hex(&packed.input),
            word(0x40) + &word(0x80) + &word(1) + &padded("ab") + &word(0)
        );
        assert_eq!(
            hex(&packed.output),
            word(0x40) + &word(0x80) + &word(3) + &padded("c0ffee") + &word(0)
        );
        assert_eq!(packed.proof, [1, 2]);
    }

    #[test]
    fn fewer_keys_are_packed_as_pythons_text() {
        let packed = packed(r#"{"raw_output":"zz","ok":true}"#).unwrap();
        let text = "{'raw_output': 'zz', 'ok': True}";
        assert_eq!(text.len(), 32);
        assert_eq!(
            hex(&packed.output),
            word(0x20) + &word(32) + &hex(text.as_bytes())
        );
        assert!(packed.input.is_empty() && packed.proof.is_empty());
    }

    #[test]
    fn malformed_digits_are_named() {
        let with = |proof: &str| {
            packed(&format!(
                r#"{{"raw_input":null,"processed_input":null,"raw_output":null,
                    "processed_output":null,"proof":{proof}}}"#
            ))
            .unwrap_err()
        };
        assert!(with(r#""0x01""#).contains("without 0x"));
        assert!(with(r#""012""#).contains("odd"));
        assert!(with(r#""0 12""#).contains("position 1"));
        assert!(with("7").contains("`proof`"));
    }
}
