//! What a container's answer comes to: a success with its payloads, or a failure to show.

use infernet_state::{
    effect::Location,
    event::{Failure, Outcome, Success},
};
use reqwest::StatusCode;
use serde_json::{Value, value::RawValue};

use super::{ERROR_TEXT_BYTES_MAX, packing};
use crate::{driver::payload, executor::Ended};

/// How an answer is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) destination: Location,
    pub(super) requires_proof: bool,
    pub(super) legacy_http_status: bool,
}

/// An answer as it came.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<String>,
    pub(super) body: Vec<u8>,
}

/// A failed call: `error` is what clients are shown.
pub(super) fn failed(error: &Value, retry: bool) -> Ended {
    failed_with(error.to_string().into_bytes(), retry)
}

/// A failed call, in words.
pub(super) fn failed_text(error: impl Into<String>, retry: bool) -> Ended {
    failed(&Value::String(error.into()), retry)
}

fn failed_with(error: Vec<u8>, retry: bool) -> Ended {
    let error = payload(error);
    Ended {
        outcome: Outcome::Failed(Failure::Container {
            error: error.reference,
            retry,
        }),
        payloads: vec![error],
    }
}

/// Judges an answer (`docs/spec/container.md` 4).
pub(super) fn judge(answer: Answer, rules: Rules) -> Ended {
    // Only a failure of the container itself is worth another call.
    let retry = answer.status.is_server_error();
    let Some((value, raw)) = parse(&answer) else {
        return failed_text(describe(&answer), retry);
    };
    let http_failed = !answer.status.is_success() && !rules.legacy_http_status;
    if http_failed {
        return failed_with(answer.body, retry);
    }
    match rules.destination {
        Location::Offchain | Location::Stream => succeeded(answer.body),
        Location::Onchain => deliverable(&value, &raw, answer.body, rules),
    }
}

pub(super) fn succeeded(body: Vec<u8>) -> Ended {
    let output = payload(body);
    Ended {
        outcome: Outcome::Succeeded(Success::ContainerAnswered {
            output: output.reference,
        }),
        payloads: vec![output],
    }
}

/// An answer that goes on chain, packed; or why it must not be delivered.
fn deliverable(value: &Value, raw: &RawValue, body: Vec<u8>, rules: Rules) -> Ended {
    let Value::Object(members) = value else {
        return failed_text(
            "the answer is no JSON object, and cannot be delivered",
            false,
        );
    };
    if let Some(code) = members.get("code")
        && !is_ok(code)
    {
        return failed_with(body, false);
    }
    let packed = match packing::pack(members, raw) {
        Ok(packed) => packed,
        Err(reason) => {
            return failed_text(
                format!("the answer {reason}; it cannot be delivered"),
                false,
            );
        }
    };
    if rules.requires_proof && packed.proof.is_empty() {
        // Delivered without one, it would cost the node its stake.
        return failed_text(
            "a proof was asked for, and the answer has none; it is not delivered",
            false,
        );
    }
    let [output, input, deliver_output, proof] =
        [body, packed.input, packed.output, packed.proof].map(payload);
    Ended {
        outcome: Outcome::Succeeded(Success::ContainerAnsweredOnchain {
            output: output.reference,
            deliver_input: input.reference,
            deliver_output: deliver_output.reference,
            deliver_proof: proof.reference,
        }),
        payloads: vec![output, input, deliver_output, proof],
    }
}

/// Containers write the code as a string; a number is understood too.
fn is_ok(code: &Value) -> bool {
    match code {
        Value::String(text) => text == "200",
        Value::Number(number) => number.as_u64() == Some(200),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// The answer as JSON, if it says that it is and it is.
fn parse(answer: &Answer) -> Option<(Value, Box<RawValue>)> {
    if !answer.content_type.as_deref().is_some_and(says_json) {
        return None;
    }
    let value = serde_json::from_slice(&answer.body).ok()?;
    Some((value, serde_json::from_slice(&answer.body).ok()?))
}

/// `application/json` or `application/…+json`, whatever parameters follow.
fn says_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence
        .strip_prefix("application/")
        .is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}

/// An answer that is not JSON, in words: its text, or what it lacks.
fn describe(answer: &Answer) -> String {
    let end = answer.body.len().min(ERROR_TEXT_BYTES_MAX);
    let text = String::from_utf8_lossy(answer.body.get(..end).unwrap_or_default());
    let text = text.trim();
    let status = answer.status;
    match (&answer.content_type, text.is_empty()) {
        (_, true) => format!("the container answered {status} without a body"),
        (Some(content_type), false) if says_json(content_type) => {
            format!("the container answered {status} with malformed JSON: {text}")
        }
        (Some(content_type), false) => {
            format!("the container answered {status} with {content_type} instead of JSON: {text}")
        }
        (None, false) => {
            format!("the container answered {status} without a content type: {text}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, content_type: &str, body: &str, rules: Rules) -> (String, Outcome) {
        let ended = judge(
            Answer {
                status: StatusCode::from_u16(status).unwrap(),
                content_type: Some(content_type.to_owned()),
                body: body.as_bytes().to_vec(),
            },
            rules,
        );
        let shown = String::from_utf8(ended.payloads[0].bytes.clone()).unwrap();
        (shown, ended.outcome)
    }

    fn retries(outcome: &Outcome) -> Option<bool> {
        match outcome {
            Outcome::Failed(Failure::Container { retry, .. }) => Some(*retry),
            _ => None,
        }
    }

    const OFFCHAIN: Rules = Rules {
        destination: Location::Offchain,
        requires_proof: false,
        legacy_http_status: false,
    };
    const ONCHAIN: Rules = Rules {
        destination: Location::Onchain,
        ..OFFCHAIN
    };

    #[test]
    fn http_errors_fail_and_only_the_containers_own_are_tried_again() {
        let refused = r#"{"code":"400","name":"Bad Request"}"#;
        let (shown, outcome) = judged(400, "application/json", refused, OFFCHAIN);
        assert_eq!((shown.as_str(), retries(&outcome)), (refused, Some(false)));
        let (_, outcome) = judged(503, "application/json", refused, OFFCHAIN);
        assert_eq!(retries(&outcome), Some(true));
        let (shown, outcome) = judged(500, "text/html", "<h1>no</h1>", OFFCHAIN);
        assert!(shown.contains("<h1>no</h1>") && retries(&outcome) == Some(true));
    }

    #[test]
    fn the_legacy_switch_takes_whatever_parses() {
        let legacy = Rules {
            legacy_http_status: true,
            ..OFFCHAIN
        };
        let (_, outcome) = judged(400, "application/json", r#"{"code":"400"}"#, legacy);
        assert!(matches!(outcome, Outcome::Succeeded(_)));
        // Towards the chain the code counts all the same.
        let onchain = Rules {
            destination: Location::Onchain,
            ..legacy
        };
        let (_, outcome) = judged(400, "application/json", r#"{"code":"400"}"#, onchain);
        assert_eq!(retries(&outcome), Some(false));
        let (_, outcome) = judged(200, "application/json", r#"{"code":"200"}"#, onchain);
        assert!(matches!(outcome, Outcome::Succeeded(_)));
    }

    #[test]
    fn what_is_not_json_fails_with_its_text() {
        for (content_type, body) in [
            ("text/html", "<p>Unknown Error</p>"),
            ("application/json", "{\"a\":"),
            ("text/plain", "{\"a\":1}"),
        ] {
            let (shown, outcome) = judged(200, content_type, body, OFFCHAIN);
            assert_eq!(retries(&outcome), Some(false));
            let shown: String = serde_json::from_str(&shown).unwrap();
            assert!(shown.contains(body), "{shown}");
        }
        let (_, outcome) = judged(200, "application/ld+json; charset=utf-8", "{}", OFFCHAIN);
        assert!(matches!(outcome, Outcome::Succeeded(_)));
    }

    #[test]
    fn nothing_undeliverable_is_delivered() {
        let (shown, outcome) = judged(200, "application/json", "[1]", ONCHAIN);
        assert!(shown.contains("no JSON object") && retries(&outcome) == Some(false));
        let odd = r#"{"raw_input":"0","processed_input":null,"raw_output":null,
            "processed_output":null,"proof":null}"#;
        let (shown, outcome) = judged(200, "application/json", odd, ONCHAIN);
        assert!(shown.contains("raw_input") && retries(&outcome) == Some(false));
        let proving = Rules {
            requires_proof: true,
            ..ONCHAIN
        };
        let (shown, outcome) = judged(200, "application/json", r#"{"ok":1}"#, proving);
        assert!(shown.contains("proof") && retries(&outcome) == Some(false));
    }
}
