//! Python's `str(dict)` of a JSON answer.
//!
//! Where a container's answer lacks the five keys, the original delivers the text that Python
//! gives of the parsed answer (`docs/spec/container.md` 3); contracts decode it and compare, so
//! it is the same here to the byte.

use std::{collections::HashMap, fmt::Write as _};

use serde_json::value::RawValue;

/// The text that Python gives of `json`, a valid JSON text of bounded depth.
///
/// The order of keys is that of the text; of a key that comes twice the first place and the last
/// value count, as in Python's dict.
///
/// # Errors
/// What `serde_json` says of a text that is no JSON.
pub(super) fn repr(json: &RawValue) -> Result<String, serde_json::Error> {
    let text = json.get().trim();
    match text.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(text)?;
            let mut out = String::from("{");
            for (place, (key, value)) in members.iter().enumerate() {
                separate(&mut out, place);
                string(&mut out, key);
                out.push_str(": ");
                out.push_str(&repr(value)?);
            }
            out.push('}');
            Ok(out)
        }
        Some(b'[') => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(text)?;
            let mut out = String::from("[");
            for (place, item) in items.iter().enumerate() {
                separate(&mut out, place);
                out.push_str(&repr(item)?);
            }
            out.push(']');
            Ok(out)
        }
        Some(b'"') => {
            let value: String = serde_json::from_str(text)?;
            let mut out = String::with_capacity(value.len().saturating_add(2));
            string(&mut out, &value);
            Ok(out)
        }
        Some(b't') => Ok("True".to_owned()),
        Some(b'f') => Ok("False".to_owned()),
        Some(b'n') => Ok("None".to_owned()),
        _ => Ok(number(text)),
    }
}

fn separate(out: &mut String, place: usize) {
    if place > 0 {
        out.push_str(", ");
    }
}

/// An object's members in the order of the text.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> serde::de::Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Box<RawValue>)> = Vec::new();
                let mut places: HashMap<String, usize> = HashMap::new();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    match places.get(&key).and_then(|place| members.get_mut(*place)) {
                        Some(member) => member.1 = value,
                        None => {
                            places.insert(key.clone(), members.len());
                            members.push((key, value));
                        }
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// Python's `repr(str)`: single quotes, unless the text has some and no double quotes.
fn string(out: &mut String, value: &str) {
    let quote = if value.contains('\'') && !value.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other if other == quote => {
                out.push('\\');
                out.push(other);
            }
            other if is_printable(other) => out.push(other),
            other => escape(out, u32::from(other)),
        }
    }
    out.push(quote);
}

/// `\xNN`, `\uNNNN` or `\UNNNNNNNN`, the shortest that fits.
fn escape(out: &mut String, code: u32) {
    // Writing to a string cannot fail.
    let _ = match code {
        0..=0xff => write!(out, "\\x{code:02x}"),
        0x100..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// Python's `str.isprintable` of one character. Rust's own debugging output goes by the same
/// Unicode categories (neither "other" nor "separator", the space apart); behind a letter it
/// escapes nothing else.
fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return matches!(character, ' '..='~');
    }
    let mut buffer = [b'a', 0, 0, 0, 0];
    let [_, rest @ ..] = &mut buffer;
    let len = character.encode_utf8(rest).len().saturating_add(1);
    let text = std::str::from_utf8(buffer.get(..len).unwrap_or_default()).unwrap_or_default();
    text.escape_debug().nth(1) == Some(character)
}

/// Python's `repr` of the number that this JSON text means there: an integer of any size where
/// it has neither fraction nor exponent, a double otherwise.
fn number(text: &str) -> String {
    if !text.contains(['.', 'e', 'E']) {
        // `-0` is the integer 0.
        return if text == "-0" { "0" } else { text }.to_owned();
    }
    float(text.parse().unwrap_or(f64::NAN))
}

/// Python's `repr(float)`: the shortest digits that give the same double; scientific below
/// 10^-4 and from 10^16 on.
fn float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each pair was printed by CPython 3: `print(repr(json.loads(text)))`.
    #[test]
    fn the_text_is_pythons() {
        let cases: &[(&str, &str)] = include!("python_cases.rs");
        for (json, python) in cases {
            let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
            assert_eq!(repr(&raw).unwrap(), *python, "of {json}");
        }
    }
}
