//! Jobs and delegated subscriptions as clients send them, and the events that they become.

use infernet_state::{
    config::ClientId,
    event::{DelegatedRequest, Idempotency, JobKind, JobRequest, Subscription},
    types::{Address, Amount, BlockTime, Hash, JobId, SubscriptionId, WallTime},
};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, value::RawValue};

use super::{
    body::{self, Object},
    problem::Problem,
};
use crate::{driver::payload, log::Payload};

/// What `POST /api/jobs` takes.
pub(super) enum Request {
    Job(JobBody),
    Delegated {
        body: Box<DelegatedBody>,
        /// The `subscription` object as it was sent, to be shown in errors.
        shown: Value,
    },
}

/// `{"containers", "data", "requires_proof"?}`. What else a client sends is ignored: id, address
/// and kind of a job are the node's own.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct JobBody {
    containers: Vec<String>,
    data: Object,
    #[serde(default)]
    requires_proof: Option<bool>,
}

/// `{"signature", "subscription", "data"}`
#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct DelegatedBody {
    signature: SignatureBody,
    subscription: SubscriptionBody,
    data: Object,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct SignatureBody {
    nonce: u32,
    expiry: u32,
    v: u8,
    r: Word,
    s: Word,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct SubscriptionBody {
    owner: HexAddress,
    active_at: u32,
    period: u32,
    frequency: u32,
    redundancy: u16,
    containers: HexHash,
    lazy: bool,
    verifier: HexAddress,
    payment_amount: Word,
    payment_token: HexAddress,
    wallet: HexAddress,
}

/// Which of the two it is.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Probe<'a> {
    #[serde(default, borrow)]
    signature: Option<&'a RawValue>,
    #[serde(default, borrow)]
    subscription: Option<&'a RawValue>,
}

/// Who asks, when, and under which key.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) client: ClientId,
    pub(super) at: WallTime,
    pub(super) idempotency: Option<Idempotency>,
}

impl Request {
    /// One request from its JSON.
    pub(super) fn parse(json: &[u8]) -> Result<Self, Problem> {
        let probe: Probe<'_> = body::parse_object(json)?;
        let Some(shown) = probe.subscription else {
            return if probe.signature.is_some() {
                Err(Problem::malformed(
                    "$.subscription",
                    "missing field `subscription`",
                ))
            } else {
                body::parse(json).map(Self::Job)
            };
        };
        body::expect_object(shown.get().as_bytes(), "$.subscription")?;
        if let Some(signature) = probe.signature {
            body::expect_object(signature.get().as_bytes(), "$.signature")?;
        }
        let shown = serde_json::from_str(shown.get())
            .map_err(|error| Problem::malformed("$.subscription", &error.to_string()))?;
        Ok(Self::Delegated {
            body: body::parse(json)?,
            shown,
        })
    }
}

impl JobBody {
    /// The job, with its input.
    pub(super) fn into_request(
        self,
        job: JobId,
        kind: JobKind,
        origin: Origin,
    ) -> (JobRequest, Payload) {
        let input = payload(self.data.into_bytes());
        let request = JobRequest {
            job,
            client: origin.client,
            at: origin.at,
            kind,
            containers: self.containers,
            input: input.reference,
            requires_proof: self.requires_proof.unwrap_or_default(),
            idempotency: origin.idempotency,
        };
        (request, input)
    }
}

impl DelegatedBody {
    /// The delegated subscription, with its input; the chain was not asked yet.
    pub(super) fn into_request(self, origin: Origin) -> (DelegatedRequest, Payload) {
        let input = payload(self.data.into_bytes());
        let (signature, subscription) = (self.signature, self.subscription);
        let request = DelegatedRequest {
            client: origin.client,
            at: origin.at,
            subscription: Subscription {
                owner: subscription.owner.0,
                active_at: subscription.active_at,
                period: subscription.period,
                frequency: subscription.frequency,
                redundancy: subscription.redundancy,
                container_id: subscription.containers.0,
                lazy: subscription.lazy,
                verifier: subscription.verifier.0,
                payment_amount: subscription.payment_amount.0,
                payment_token: subscription.payment_token.0,
                wallet: subscription.wallet.0,
            },
            nonce: signature.nonce,
            expiry: signature.expiry,
            v: match signature.v {
                // The bare parity, as some libraries give it.
                parity @ (0 | 1) => parity + 27,
                other => other,
            },
            r: Hash(signature.r.0.to_be_bytes()),
            s: Hash(signature.s.0.to_be_bytes()),
            input: input.reference,
            known_id: SubscriptionId(0),
            seen: BlockTime(0),
        };
        (request, input)
    }
}

/// An unsigned number of up to 256 bits: a JSON integer of any length, or a string `0x…`.
struct Word(Amount);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str =
            "an unsigned integer of at most 256 bits, or its 0x-hexadecimal text";

        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let parsed = if raw.get().starts_with('"') {
            let text: String = serde_json::from_str(raw.get()).map_err(de::Error::custom)?;
            text.strip_prefix("0x")
                .filter(|digits| (1..=64).contains(&digits.len()))
                .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                .and_then(|digits| alloy::primitives::U256::from_str_radix(digits, 16).ok())
        } else {
            let digits = raw.get();
            (digits.bytes().all(|digit| digit.is_ascii_digit()))
                .then(|| alloy::primitives::U256::from_str_radix(digits, 10).ok())
                .flatten()
        };
        let value = parsed.ok_or_else(|| {
            de::Error::custom(format!(
                "invalid value: {}, expected {EXPECTED}",
                body::kind(&raw)
            ))
        })?;
        Ok(Self(Amount::from_be_bytes(value.to_be_bytes())))
    }
}

/// 20 bytes as `0x…`.
struct HexAddress(Address);

impl<'de> Deserialize<'de> for HexAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex(deserializer).map(|bytes| Self(Address(bytes)))
    }
}

/// 32 bytes as `0x…`.
struct HexHash(Hash);

impl<'de> Deserialize<'de> for HexHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex(deserializer).map(|bytes| Self(Hash(bytes)))
    }
}

fn hex<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
    let text = String::deserialize(deserializer)?;
    let mut bytes = [0; N];
    text.strip_prefix("0x")
        .and_then(|digits| alloy::hex::decode_to_slice(digits, &mut bytes).ok())
        .ok_or_else(|| {
            de::Error::custom(format!(
                "invalid value, expected 0x and {} hexadecimal digits",
                2 * N
            ))
        })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ORIGIN: Origin = Origin {
        client: ClientId([1; 16]),
        at: WallTime(5),
        idempotency: None,
    };

    fn delegated() -> Value {
        let word: Value = serde_json::from_str(
            "115792089237316195423570985008687907853269984665640564039457584007913129639935",
        )
        .unwrap();
        json!({
            "signature": {"nonce": 1, "expiry": 4_000_000_000_u32, "v": 27, "r": word, "s": "0x0102"},
            "subscription": {
                "owner": "0x5FbDB2315678afecb367f032d93F642f64180aa3", "active_at": 10, "period": 0,
                "frequency": 1, "redundancy": 2, "containers": format!("0x{}", "ab".repeat(32)),
                "lazy": false, "verifier": format!("0x{}", "00".repeat(20)),
                "payment_amount": 0, "payment_token": format!("0x{}", "00".repeat(20)),
                "wallet": format!("0x{}", "11".repeat(20)),
            },
            "data": {"x": 1},
        })
    }

    #[test]
    fn big_integers_keep_every_bit() {
        let Ok(Request::Delegated { body, shown }) =
            Request::parse(delegated().to_string().as_bytes())
        else {
            panic!("not taken");
        };
        let (request, input) = body.into_request(ORIGIN);
        assert_eq!(request.r, Hash([0xff; 32]));
        assert_eq!(request.s.0[30..], [1, 2]);
        assert_eq!(
            request.subscription.owner.to_string(),
            "0x5fbdb2315678afecb367f032d93f642f64180aa3"
        );
        assert_eq!(input.bytes, br#"{"x":1}"#);
        assert_eq!(shown["redundancy"], 2);
    }

    #[test]
    fn ill_typed_fields_are_named() {
        for (pointer, wrong, path) in [
            ("/signature/r", json!(-1), "$.signature.r"),
            ("/signature/r", json!(1.5), "$.signature.r"),
            ("/signature/r", json!("12"), "$.signature.r"),
            (
                "/signature/s",
                json!(format!("0x{}", "f".repeat(65))),
                "$.signature.s",
            ),
            (
                "/signature/nonce",
                json!(4_294_967_296_u64),
                "$.signature.nonce",
            ),
            ("/subscription/owner", json!("0x12"), "$.subscription.owner"),
            (
                "/subscription/containers",
                json!(["a"]),
                "$.subscription.containers",
            ),
            ("/subscription", json!([]), "$.subscription"),
            ("/subscription", json!(7), "$.subscription"),
            // A list of the right values in the right order is still no object.
            (
                "/signature",
                json!([1, 4_000_000_000_u32, 27, 1, 2]),
                "$.signature",
            ),
            ("/data", json!("x"), "$.data"),
        ] {
            let mut request = delegated();
            *request.pointer_mut(pointer).unwrap() = wrong;
            let Err(problem) = Request::parse(request.to_string().as_bytes()) else {
                panic!("{pointer} is taken");
            };
            let problem = serde_json::to_value(&problem).unwrap();
            assert_eq!(problem["params"]["path"], path, "{problem}");
        }
    }

    #[test]
    fn a_clients_own_id_is_ignored() {
        let json = br#"{"id":"x","ip":"1.2.3.4","type":7,"containers":["a"],"data":{}}"#;
        let Ok(Request::Job(body)) = Request::parse(json) else {
            panic!("not taken");
        };
        let (request, _) = body.into_request(JobId([9; 16]), JobKind::Offchain, ORIGIN);
        assert_eq!(request.job, JobId([9; 16]));
        assert_eq!(request.client, ORIGIN.client);
    }
}
