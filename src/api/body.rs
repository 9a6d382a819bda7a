//! From a request's bytes to typed fields, with the place named where they do not fit.

use axum::{extract::rejection::BytesRejection, http::StatusCode};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use super::{BODY_BYTES_MAX, problem::Problem};

/// Objects and lists inside each other in a request: Python's services and our own parser both
/// take more, also when it is wrapped into a container's request.
const NESTING_MAX: usize = 100;

/// The body, or what is wrong with its transfer.
pub(super) fn read(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Problem::too_large(format!("The body is longer than {BODY_BYTES_MAX} bytes"))
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "The body broke off")
        }
    })
}

/// The fields of a body.
pub(super) fn parse<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, Problem> {
    if json.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::malformed(
            "$",
            "the body is empty, JSON is expected",
        ));
    }
    if is_nested_too_deep(json) {
        return Err(Problem::malformed(
            "$",
            &format!("objects and lists nest deeper than {NESTING_MAX}"),
        ));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let reason = error.inner().to_string();
        Problem::malformed(&path(error.path(), &reason), &reason)
    })?;
    deserializer
        .end()
        .map_err(|error| Problem::malformed("$", &error.to_string()))?;
    Ok(value)
}

/// The fields of a body that is an object. (serde takes the fields from a list as well.)
pub(super) fn parse_object<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, Problem> {
    expect_object(json, "$")?;
    parse(json)
}

/// Refuses what is no object at `path`; what is no JSON is left to the parser.
pub(super) fn expect_object(json: &[u8], path: &str) -> Result<(), Problem> {
    match json.trim_ascii_start().first() {
        Some(first @ (b'[' | b'"')) => {
            let reason = format!("invalid type: {}, expected an object", kind_of(*first));
            Err(Problem::malformed(path, &reason))
        }
        _ => Ok(()),
    }
}

/// The JSON path of an error: a field that is missing is named, not the object that lacks it.
fn path(path: &serde_path_to_error::Path, reason: &str) -> String {
    use std::fmt::Write as _;

    let mut out = String::from("$");
    for segment in path {
        // Writing to a string cannot fail.
        let _ = match segment {
            serde_path_to_error::Segment::Seq { index } => write!(out, "[{index}]"),
            serde_path_to_error::Segment::Map { key } => write!(out, ".{key}"),
            serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => {
                Ok(())
            }
        };
    }
    let missing = reason
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split_once('`'));
    if let Some((field, _)) = missing {
        let _ = write!(out, ".{field}");
    }
    out
}

/// Whether brackets outside of strings nest too deep. What is no JSON is found by the parser.
fn is_nested_too_deep(json: &[u8]) -> bool {
    let mut depth: usize = 0;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                if depth > NESTING_MAX {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    false
}

fn skip_string<'a>(bytes: &mut impl Iterator<Item = &'a u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'"' => return,
            _ => {}
        }
    }
}

/// A JSON object, kept as the text that it is: the order of its keys and every digit of its
/// numbers reach the container.
#[derive(Debug)]
pub(super) struct Object(Box<RawValue>);

impl Object {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        String::from(Box::<str>::from(self.0)).into_bytes()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if raw.get().starts_with('{') {
            Ok(Self(raw))
        } else {
            Err(de::Error::custom(format!(
                "invalid type: {}, expected an object",
                kind(&raw)
            )))
        }
    }
}

/// A JSON list, kept as text, item by item.
#[derive(Debug)]
pub(super) struct List(pub(super) Vec<Box<RawValue>>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

/// What a JSON text is, in a word.
pub(super) fn kind(raw: &RawValue) -> &'static str {
    raw.get().bytes().next().map_or("nothing", kind_of)
}

/// What a JSON text that begins so is, in a word.
fn kind_of(first: u8) -> &'static str {
    match first {
        b'{' => "an object",
        b'[' => "a list",
        b'"' => "a string",
        b't' | b'f' => "a boolean",
        b'n' => "null",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug)]
    struct Outer {
        list: Vec<Inner>,
        #[allow(dead_code)]
        data: Object,
    }

    #[derive(Deserialize, Debug)]
    struct Inner {
        #[allow(dead_code)]
        number: u8,
    }

    fn refused(json: &str) -> String {
        let problem = parse::<Outer>(json.as_bytes()).unwrap_err();
        serde_json::to_value(&problem).unwrap()["params"]["path"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn the_place_of_an_error_is_named() {
        assert_eq!(refused(r#"{"list":[],"data":{}}x"#), "$");
        assert_eq!(refused(" \n"), "$");
        assert_eq!(refused("[]"), "$");
        assert_eq!(refused(r#"{"list":[]}"#), "$.data");
        assert_eq!(refused(r#"{"list":[],"data":[1]}"#), "$.data");
        assert_eq!(
            refused(r#"{"list":[{"number":1},{"number":"2"}],"data":{}}"#),
            "$.list[1].number"
        );
        assert_eq!(refused(r#"{"list":[{}],"data":{}}"#), "$.list[0].number");
        assert_eq!(
            refused(r#"{"list":[{"number":256}],"data":{}}"#),
            "$.list[0].number"
        );
    }

    #[test]
    fn the_text_of_an_object_is_kept() {
        let json = r#"{"data": {"z":1.10, "a":12345678901234567890123} , "list":[], "more":null}"#;
        let outer: Outer = parse(json.as_bytes()).unwrap();
        assert!(outer.list.is_empty());
        assert_eq!(
            outer.data.into_bytes(),
            br#"{"z":1.10, "a":12345678901234567890123}"#
        );
    }

    #[test]
    fn nesting_is_bounded_wherever_it_stands() {
        let nested = |depth: usize| {
            format!(
                r#"{{"list":[],"data":{{"text":"[[[[\"[{{","x":{}{}}}}}"#,
                "[".repeat(depth),
                "]".repeat(depth)
            )
        };
        assert!(parse::<Outer>(nested(NESTING_MAX - 2).as_bytes()).is_ok());
        assert_eq!(refused(&nested(NESTING_MAX - 1)), "$");
        assert_eq!(refused(&nested(1_000_000)), "$");
    }
}
