//! The contract that the tests deploy, and a plain JSON-RPC client.

use std::sync::LazyLock;

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, Bytes, hex};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::sol;
use infernet_node::devnet::{Devnet, DevnetConfig, dev_signers};
use serde_json::{Value, json};

sol! {
    /// `Probe.sol` beside this file; `Probe.hex` is what solc 0.8.30 makes of it (optimizer 200
    /// runs, EVM version cancun, no metadata).
    #[sol(rpc)]
    #[derive(Debug)]
    contract Probe {
        event Changed(address indexed by, uint256 indexed from, uint256 to, string note);
        error TooLarge(uint256 given, uint256 limit);

        constructor(uint256 initial) payable;
        function value() external view returns (uint256);
        function filled(uint256) external view returns (uint256);
        function set(uint256 to, string calldata note) external payable;
        function clear() external;
        function fill(uint256 count) external;
        function burn() external pure;
        function seen()
            external
            view
            returns (uint256 number, uint256 time, uint256 fee, bytes32 parent);
        function requireTime(uint256 at) external;
        function speak(uint256 number) external;
        function spawn(bytes32 salt) external returns (address child);
    }
}

/// Creation code of [`Probe`] without its constructor argument.
pub(crate) fn creation_code() -> Bytes {
    hex::decode(include_str!("Probe.hex").trim())
        .unwrap()
        .into()
}

/// Creation code of [`Probe`] with `initial` as constructor argument.
pub(crate) fn creation(initial: u64) -> Bytes {
    let word = alloy::primitives::U256::from(initial).to_be_bytes::<32>();
    [creation_code().as_ref(), &word].concat().into()
}

/// A [`Probe`] of the provider's first account that holds `initial`.
pub(crate) async fn deployed(provider: &impl Provider, initial: u64) -> Address {
    let deploy = TransactionRequest::default().with_deploy_code(creation(initial));
    let sent = provider.send_transaction(deploy).await.unwrap();
    let receipt = sent.get_receipt().await.unwrap();
    receipt.contract_address.unwrap()
}

pub(crate) async fn start(config: DevnetConfig) -> Devnet {
    Devnet::start(config).await.unwrap()
}

/// An alloy provider that signs for the development accounts, account 0 first.
pub(crate) fn wallet(url: &str) -> impl Provider + Clone + use<> {
    let mut signers = dev_signers().into_iter();
    let mut wallet = EthereumWallet::from(signers.next().unwrap());
    signers.for_each(|signer| wallet.register_signer(signer));
    ProviderBuilder::new()
        .wallet(wallet)
        .connect_http(url.parse().unwrap())
}

/// One client for all tests, since building one reads the certificates. Each test has a runtime of
/// its own, so no connection is kept.
pub(crate) fn client() -> reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .build()
            .unwrap()
    });
    CLIENT.clone()
}

/// Posts a body, gives the parsed answer.
pub(crate) async fn post(url: &str, body: &Value) -> Value {
    let answer = client().post(url).json(body).send().await.unwrap();
    answer.json().await.unwrap()
}

/// One call; the `result` or the `error` object.
pub(crate) async fn rpc(url: &str, method: &str, params: Value) -> Result<Value, Value> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let mut answer = post(url, &body).await;
    match answer.get("error") {
        Some(error) => Err(error.clone()),
        None => Ok(answer["result"].take()),
    }
}
