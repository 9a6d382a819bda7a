//! Asks for inference, as a consumer contract's user or as a client.

use std::{str::FromStr as _, time::Duration};

use alloy::{
    primitives::{Address, B256, TxKind, U256},
    providers::{Provider as _, RootProvider},
    rpc::types::TransactionRequest,
    sol_types::{SolCall as _, SolEvent as _},
};
use infernet_codec::{
    inference::InferenceRequest,
    model_id::ModelId,
    vector::{Encoding, RitualVector, Values},
};
use infernet_contracts::{Coordinator, IrisConsumer};
use serde::Deserialize;

use super::{CONSUMER, CONSUMER_WALLET, DevError, Flower, Role, Sender};

/// The container that `infernet dev` runs.
pub const CONTAINER: &str = "onnx-iris";

/// The model it is asked for.
pub const MODEL: &str = "local/infernet/iris:iris.onnx";

/// What one answer costs, in wei: 0.01 coins.
pub const PRICE: U256 = U256::from_limbs([10_000_000_000_000_000, 0, 0, 0]);

/// How long an off-chain answer is waited for.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// How long one long poll takes, in seconds.
const POLL_SECONDS: u32 = 5;

/// A request that stands in the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The subscription that it became.
    pub id: u32,
    /// The transaction.
    pub tx: B256,
    /// Its block.
    pub block: u64,
}

/// A classification, as a consumer contract stores it or a client gets it.
#[derive(Clone, PartialEq, Debug)]
pub struct Classification {
    /// Index into [`super::CLASSES`].
    pub class: usize,
    /// The probability of each class.
    pub probabilities: Vec<f32>,
}

impl Classification {
    /// The class by name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        super::CLASSES.get(self.class).copied().unwrap_or("unknown")
    }
}

fn tensor(flower: Flower) -> Result<RitualVector, DevError> {
    RitualVector::new(vec![1, flower.0.len()], Values::Float32(flower.0.to_vec())).map_err(
        |error| DevError::Encoding {
            reason: error.to_string(),
        },
    )
}

/// The bytes that the consumer hands to the container.
fn inputs(flower: Flower) -> Result<Vec<u8>, DevError> {
    let model = ModelId::from_str(MODEL).map_err(|error| DevError::Encoding {
        reason: error.to_string(),
    })?;
    InferenceRequest {
        model: Some(model),
        input: tensor(flower)?,
        output: None,
    }
    .to_abi(Encoding::Ieee)
    .map_err(|error| DevError::Encoding {
        reason: error.to_string(),
    })
}

/// Lets the example consumer ask, and waits until the request stands in the chain.
///
/// # Durability
/// The chain has synced the request when it returns.
///
/// # Errors
/// [`DevError`].
pub async fn ask_onchain(rpc: &str, flower: Flower) -> Result<Asked, DevError> {
    let sender = Sender::connect(rpc, Role::Consumer.signer()).await?;
    let call = IrisConsumer::requestClassificationCall {
        containerId: CONTAINER.to_owned(),
        inputs: inputs(flower)?.into(),
        paymentToken: Address::ZERO,
        paymentAmount: PRICE,
        wallet: CONSUMER_WALLET,
    };
    let what = "send the request";
    let receipt = sender
        .send(what, TxKind::Call(CONSUMER), call.abi_encode(), U256::ZERO)
        .await?;
    let id = receipt
        .logs()
        .iter()
        .find_map(|log| Coordinator::SubscriptionCreated::decode_log(&log.inner).ok())
        .map(|event| event.id)
        .ok_or(DevError::Reverted {
            what,
            hash: receipt.transaction_hash,
        })?;
    Ok(Asked {
        id,
        tx: receipt.transaction_hash,
        block: receipt.block_number.unwrap_or_default(),
    })
}

/// The answer that the consumer contract has stored; `None` before it has one.
///
/// # Errors
/// [`DevError::Rpc`], [`DevError::Encoding`].
pub async fn stored_answer(
    provider: &RootProvider,
    id: u32,
) -> Result<Option<Classification>, DevError> {
    let request = TransactionRequest::default()
        .to(CONSUMER)
        .input(IrisConsumer::answersCall { id }.abi_encode().into());
    let answer = provider
        .call(request)
        .await
        .map_err(|error| DevError::rpc("read the consumer's answer", &error))?;
    let answer = IrisConsumer::answersCall::abi_decode_returns(&answer).map_err(|error| {
        DevError::Encoding {
            reason: error.to_string(),
        }
    })?;
    Ok(answer.known.then(|| Classification {
        class: usize::from(answer.class),
        probabilities: answer
            .values
            .iter()
            .map(|bits| f32::from_be_bytes(bits.to_be_bytes()))
            .collect(),
    }))
}

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

#[derive(Deserialize)]
struct Job {
    status: String,
    result: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Output {
    result: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    values: Vec<f32>,
}

/// Asks a node's REST interface, and waits for the answer.
///
/// # Errors
/// [`DevError::Api`] when the node refuses, fails or does not answer in time.
pub async fn ask_offchain(api: &str, flower: Flower) -> Result<(String, Classification), DevError> {
    let failed = |reason: String| DevError::Api { reason };
    let base = api.trim_end_matches('/');
    let input = tensor(flower)?
        .to_json()
        .map_err(|error| DevError::Encoding {
            reason: error.to_string(),
        })?;
    let body = serde_json::json!({
        "containers": [CONTAINER],
        "data": { "model_id": MODEL, "inputs": { "input": input } },
    });
    let client = super::sender::client()?;
    let wait = async {
        let accepted = client
            .post(format!("{base}/api/jobs"))
            .json(&body)
            .send()
            .await
            .map_err(DevError::no_node)?;
        let status = accepted.status();
        let text = accepted.text().await.map_err(DevError::no_node)?;
        if !status.is_success() {
            return Err(failed(format!("{status}: {text}")));
        }
        let Accepted { id } =
            serde_json::from_str(&text).map_err(|error| failed(format!("{text}: {error}")))?;
        loop {
            let jobs: Vec<Job> = client
                .get(format!("{base}/api/jobs?id={id}&wait={POLL_SECONDS}"))
                .send()
                .await
                .map_err(DevError::no_node)?
                .json()
                .await
                .map_err(DevError::no_node)?;
            match jobs.into_iter().next() {
                Some(job) if job.status == "running" => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Some(job) if job.status == "success" => {
                    let result = job.result.unwrap_or_default();
                    return Ok((id, classification(&result)?));
                }
                Some(job) => {
                    return Err(failed(format!(
                        "job {id} failed: {}",
                        job.result.unwrap_or_default()
                    )));
                }
                None => return Err(failed(format!("the node does not know job {id}"))),
            }
        }
    };
    tokio::time::timeout(ANSWER_WAIT, wait)
        .await
        .unwrap_or_else(|_| {
            Err(failed(format!(
                "no answer within {} s",
                ANSWER_WAIT.as_secs()
            )))
        })
}

fn classification(result: &serde_json::Value) -> Result<Classification, DevError> {
    let unusable = |reason: &dyn std::fmt::Display| DevError::Api {
        reason: format!("the answer is no classification: {reason}: {result}"),
    };
    let output: Output =
        serde_json::from_value(result["output"].clone()).map_err(|error| unusable(&error))?;
    let probabilities = output
        .result
        .into_iter()
        .next()
        .ok_or_else(|| unusable(&"no tensor"))?
        .values;
    let class = (0..probabilities.len())
        .max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]))
        .ok_or_else(|| unusable(&"an empty tensor"))?;
    Ok(Classification {
        class,
        probabilities,
    })
}
