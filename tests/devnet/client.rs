//! alloy, unmodified, against the chain.

use alloy::consensus::TxReceipt;
use alloy::consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::network::{TransactionBuilder, TransactionBuilder7702};
use alloy::primitives::{Address, B256, Bloom, U256, address};
use alloy::providers::Provider;
use alloy::rpc::types::state::{AccountOverride, StateOverride};
use alloy::rpc::types::{BlockOverrides, Filter, TransactionRequest};
use alloy::signers::SignerSync;
use alloy::sol_types::SolEvent;
use infernet_node::devnet::{
    CREATE2_DEPLOYER, DEV_BALANCE, DevnetConfig, DevnetError, dev_addresses, dev_signers,
};
use serde_json::{Value, json};

use crate::probe::{Probe, creation, creation_code, deployed, post, rpc, start, wallet};

#[tokio::test]
async fn deploys_calls_and_finds_logs() {
    let chain = start(DevnetConfig::default()).await;
    let provider = wallet(&chain.url());
    let owner = dev_addresses()[0];
    assert_eq!(provider.get_chain_id().await.unwrap(), 31_337);
    assert_eq!(provider.get_balance(owner).await.unwrap(), DEV_BALANCE);
    assert_eq!(
        DEV_BALANCE,
        U256::from(10_000) * U256::from(10).pow(U256::from(18))
    );
    assert_eq!(provider.get_accounts().await.unwrap(), dev_addresses());

    let deploy = TransactionRequest::default().with_deploy_code(creation(7));
    let deployed = provider
        .send_transaction(deploy)
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    let address = deployed.contract_address.unwrap();
    assert_eq!(address, owner.create(0));
    let probe = Probe::new(address, &provider);
    assert_eq!(probe.value().call().await.unwrap(), U256::from(7));

    let receipt = probe
        .set(U256::from(8), "first".into())
        .value(U256::from(5))
        .send()
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    assert!(receipt.status());
    assert_eq!(provider.get_balance(address).await.unwrap(), U256::from(5));
    assert_eq!(
        provider.get_storage_at(address, U256::ZERO).await.unwrap(),
        U256::from(8)
    );
    let event = receipt.decoded_log::<Probe::Changed>().unwrap();
    assert_eq!(
        (event.from, event.to, event.note.as_str()),
        (U256::from(7), U256::from(8), "first")
    );

    // Gas and value left the sender, to the wei.
    let spent: U256 = [&deployed, &receipt]
        .iter()
        .map(|receipt| U256::from(receipt.gas_used) * U256::from(receipt.effective_gas_price))
        .sum();
    assert_eq!(
        provider.get_balance(owner).await.unwrap(),
        DEV_BALANCE - spent - U256::from(5)
    );

    // The address and the topics select; the block hash does too.
    let by_topic = Filter::new()
        .address(address)
        .event_signature(Probe::Changed::SIGNATURE_HASH)
        .topic1(owner.into_word())
        .from_block(0);
    let logs = provider.get_logs(&by_topic).await.unwrap();
    assert_eq!(logs.len(), 1);
    assert_eq!(logs[0].block_hash, receipt.block_hash);
    assert_eq!(logs[0].transaction_hash, Some(receipt.transaction_hash));
    let other = by_topic.clone().topic1(Address::ZERO.into_word());
    assert!(provider.get_logs(&other).await.unwrap().is_empty());
    let at_hash = Filter::new().at_block_hash(receipt.block_hash.unwrap());
    assert_eq!(provider.get_logs(&at_hash).await.unwrap(), logs);

    let history = provider
        .get_fee_history(10, BlockNumberOrTag::Latest, &[50.0])
        .await
        .unwrap();
    assert_eq!(history.base_fee_per_gas.len(), 4);
    assert_eq!(history.oldest_block, 0);
    assert!(history.reward.unwrap()[2][0] > 0);
    assert!(
        !provider
            .get_code_at(CREATE2_DEPLOYER)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn headers_hash_to_their_blocks_and_base_fees_follow_the_formula() {
    let chain = start(DevnetConfig {
        gas_limit: 2_000_000,
        ..DevnetConfig::default()
    })
    .await;
    let provider = wallet(&chain.url());
    let probe = Probe::new(deployed(&provider, 0).await, &provider);
    for count in [1, 70, 80] {
        probe
            .fill(U256::from(count))
            .send()
            .await
            .unwrap()
            .get_receipt()
            .await
            .unwrap();
    }
    let mut parent: Option<alloy::rpc::types::Block> = None;
    for number in 0..=provider.get_block_number().await.unwrap() {
        let block = provider
            .get_block_by_number(number.into())
            .full()
            .await
            .unwrap()
            .unwrap();
        let header = block.header.inner.clone();
        assert_eq!(header.hash_slow(), block.header.hash);
        let envelopes: Vec<_> = block
            .transactions
            .txns()
            .map(|tx| tx.inner.inner().clone())
            .collect();
        assert_eq!(
            header.transactions_root,
            calculate_transaction_root(&envelopes)
        );
        let receipts: Vec<_> = provider
            .get_block_receipts(number.into())
            .await
            .unwrap()
            .unwrap()
            .into_iter()
            .map(|receipt| receipt.into_primitives_receipt().inner)
            .collect();
        assert_eq!(header.receipts_root, calculate_receipt_root(&receipts));
        let bloom = receipts
            .iter()
            .fold(Bloom::ZERO, |all, receipt| all | receipt.bloom());
        assert_eq!(header.logs_bloom, bloom);
        assert_eq!(
            header.gas_used,
            receipts
                .last()
                .map_or(0, |receipt| receipt.cumulative_gas_used())
        );
        if let Some(parent) = &parent {
            assert_eq!(header.parent_hash, parent.header.hash);
            // EIP-1559, written out: an eighth of the distance from the target.
            let (fee, used) = (
                parent.header.base_fee_per_gas.unwrap(),
                parent.header.gas_used,
            );
            let target = 1_000_000;
            let expected = if used > target {
                fee + (fee * (used - target) / target / 8).max(1)
            } else {
                fee - fee * (target - used) / target / 8
            };
            assert_eq!(header.base_fee_per_gas, Some(expected), "block {number}");
        }
        parent = Some(block);
    }
}

#[tokio::test]
async fn failures_speak_the_clients_language() {
    let chain = start(DevnetConfig::default()).await;
    let url = chain.url();
    let provider = wallet(&url);
    let address = deployed(&provider, 0).await;
    let probe = Probe::new(address, &provider);

    let refused = probe
        .set(U256::from(1001), String::new())
        .call()
        .await
        .unwrap_err();
    let error = refused.as_decoded_error::<Probe::TooLarge>().unwrap();
    assert_eq!(
        (error.given, error.limit),
        (U256::from(1001), U256::from(1000))
    );

    let call = |to: u64| {
        let call = probe.set(U256::from(to), String::new());
        json!([{ "from": dev_addresses()[0], "to": address, "data": call.calldata() }])
    };
    for method in ["eth_call", "eth_estimateGas"] {
        let error = rpc(&url, method, call(13)).await.unwrap_err();
        assert_eq!(error["code"], 3);
        assert_eq!(error["message"], "execution reverted: unlucky");
        assert!(error["data"].as_str().unwrap().starts_with("0x08c379a0"));
    }
    let burn = json!([{ "to": address, "data": probe.burn().calldata() }]);
    let error = rpc(&url, "eth_call", burn).await.unwrap_err();
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("assertion failed"),
        "{error}"
    );

    // A transaction that reverts is mined, and pays.
    let sent = probe
        .set(U256::from(13), String::new())
        .gas(100_000)
        .send()
        .await
        .unwrap();
    let reverted = sent.get_receipt().await.unwrap();
    assert!(!reverted.status());
    assert!(reverted.gas_used > 21_000 && reverted.inner.logs().is_empty());
    let outcome = rpc(
        &url,
        "infernet_transactionOutcome",
        json!([reverted.transaction_hash]),
    )
    .await
    .unwrap();
    assert!(
        outcome["revertData"]
            .as_str()
            .unwrap()
            .starts_with("0x08c379a0")
    );

    let send = |nonce: u64, gas: u64, value: U256, signer: usize| {
        let mut request = TransactionRequest::default()
            .with_from(dev_addresses()[signer])
            .with_to(address!("0x000000000000000000000000000000000000dEaD"))
            .with_nonce(nonce)
            .with_gas_limit(gas)
            .with_value(value);
        request.gas_price = Some(3_000_000_000);
        json!([request])
    };
    let one = U256::from(1);
    for (params, expected) in [
        (send(0, 21_000, one, 0), "nonce too low"),
        (send(9, 20_999, one, 1), "intrinsic gas too low"),
        (
            send(0, 21_000, DEV_BALANCE, 1),
            "insufficient funds for gas * price + value",
        ),
        (send(0, 30_000_001, one, 1), "exceeds block gas limit"),
        (send(5_000, 21_000, one, 1), "nonce too high"),
    ] {
        let error = rpc(&url, "eth_sendTransaction", params).await.unwrap_err();
        assert!(
            error["message"].as_str().unwrap().starts_with(expected),
            "{error}"
        );
    }
    let error = rpc(&url, "eth_sendRawTransaction", json!(["0x02f8"]))
        .await
        .unwrap_err();
    assert_eq!(error["code"], -32602);
    let error = rpc(&url, "eth_madeUp", json!([])).await.unwrap_err();
    assert_eq!(error["code"], -32601);

    // A contract over the size limit of EIP-170 does not come to life.
    let oversized = json!([{ "data": "0x6160016000f3" }]);
    assert!(rpc(&url, "eth_estimateGas", oversized).await.is_err());
}

#[tokio::test]
async fn calls_see_overrides_and_the_past() {
    let chain = start(DevnetConfig::default()).await;
    let provider = wallet(&chain.url());
    let address = deployed(&provider, 1).await;
    let probe = Probe::new(address, &provider);
    for value in 2..=4 {
        probe
            .set(U256::from(value), String::new())
            .send()
            .await
            .unwrap()
            .watch()
            .await
            .unwrap();
    }
    for number in 1..=4 {
        let value = probe.value().block(number.into()).call().await.unwrap();
        assert_eq!(value, U256::from(number));
        let block = provider
            .get_block_by_number(number.into())
            .await
            .unwrap()
            .unwrap();
        let seen = probe
            .seen()
            .block(block.header.hash.into())
            .call()
            .await
            .unwrap();
        assert_eq!(seen.number, U256::from(number));
        assert_eq!(seen.time, U256::from(block.header.timestamp));
        assert_eq!(seen.parent, block.header.parent_hash);
    }
    assert!(
        provider
            .get_code_at(address)
            .number(0)
            .await
            .unwrap()
            .is_empty()
    );

    // A predicted block time decides whether a call would pass.
    let later = provider
        .get_block_by_number(BlockNumberOrTag::Latest)
        .await
        .unwrap()
        .unwrap()
        .header
        .timestamp
        + 1_000;
    let early = probe.requireTime(U256::from(later));
    assert!(early.call().await.is_err());
    let time = BlockOverrides {
        time: Some(later),
        ..BlockOverrides::default()
    };
    provider
        .call(early.clone().into_transaction_request())
        .with_block_overrides(time)
        .await
        .unwrap();

    // Another code, another balance, other storage; and nothing of it stays.
    let stranger = address!("0x00000000000000000000000000000000000abcde");
    let runtime = provider.get_code_at(address).await.unwrap();
    let overrides = StateOverride::from_iter([(
        stranger,
        AccountOverride {
            code: Some(runtime),
            state_diff: Some(
                [(B256::ZERO, B256::from(U256::from(99)))]
                    .into_iter()
                    .collect(),
            ),
            ..AccountOverride::default()
        },
    )]);
    let value = Probe::new(stranger, &provider)
        .value()
        .state(overrides)
        .call()
        .await
        .unwrap();
    assert_eq!(value, U256::from(99));
    assert!(provider.get_code_at(stranger).await.unwrap().is_empty());
    let missing = provider
        .get_balance(stranger)
        .block_id(BlockId::number(77))
        .await
        .unwrap_err();
    assert!(
        missing.to_string().contains("header not found"),
        "{missing}"
    );
}

#[tokio::test]
async fn state_of_128_blocks_ago_is_there_and_beyond_it_is_said_so() {
    let chain = start(DevnetConfig::default()).await;
    let url = chain.url();
    let someone = dev_addresses()[5];
    rpc(&url, "anvil_setBalance", json!([someone, "0x1"]))
        .await
        .unwrap();
    rpc(&url, "anvil_mine", json!([1])).await.unwrap();
    rpc(&url, "anvil_setBalance", json!([someone, "0x2"]))
        .await
        .unwrap();
    rpc(&url, "anvil_mine", json!(["0x80"])).await.unwrap();
    assert_eq!(
        rpc(&url, "eth_getBalance", json!([someone, "0x1"]))
            .await
            .unwrap(),
        "0x1"
    );
    assert_eq!(
        rpc(&url, "eth_getBalance", json!([someone, "latest"]))
            .await
            .unwrap(),
        "0x2"
    );
    rpc(&url, "anvil_mine", json!([200])).await.unwrap();
    let error = rpc(&url, "eth_getBalance", json!([someone, "0x1"]))
        .await
        .unwrap_err();
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("block 1 is not available"),
        "{error}"
    );
}

#[tokio::test]
async fn every_transaction_type_is_taken() {
    let chain = start(DevnetConfig::default()).await;
    let provider = wallet(&chain.url());
    let to = dev_addresses()[1];
    let plain = TransactionRequest::default()
        .with_to(to)
        .with_value(U256::from(1));
    let mut legacy = plain.clone();
    legacy.gas_price = Some(3_000_000_000);
    let listed = legacy.clone().with_access_list(Default::default());
    let signer = &dev_signers()[3];
    let authorization = alloy::eips::eip7702::Authorization {
        chain_id: U256::from(31_337),
        address: CREATE2_DEPLOYER,
        nonce: 0,
    };
    let signature = signer
        .sign_hash_sync(&authorization.signature_hash())
        .unwrap();
    let set_code = plain
        .clone()
        .with_authorization_list(vec![authorization.into_signed(signature)]);
    for (expected, request) in [(0, legacy), (1, listed), (2, plain), (4, set_code)] {
        let sent = provider.send_transaction(request).await.unwrap();
        let receipt = sent.get_receipt().await.unwrap();
        assert!(receipt.status());
        assert_eq!(receipt.inner.tx_type() as u8, expected);
        let tx = provider
            .get_transaction_by_hash(receipt.transaction_hash)
            .await
            .unwrap();
        assert_eq!(tx.unwrap().block_hash, receipt.block_hash);
    }
    let delegated = provider.get_code_at(signer.address()).await.unwrap();
    assert_eq!(delegated[..3], [0xef, 0x01, 0x00]);
    assert_eq!(Address::from_slice(&delegated[3..]), CREATE2_DEPLOYER);
}

#[tokio::test]
async fn estimates_suffice_and_are_close() {
    let chain = start(DevnetConfig::default()).await;
    let provider = wallet(&chain.url());
    let deploy = TransactionRequest::default()
        .with_deploy_code(creation(3))
        .with_value(U256::from(9));
    let receipt = provider
        .send_transaction(deploy)
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    let probe = Probe::new(receipt.contract_address.unwrap(), &provider);
    let calls = [
        probe
            .set(U256::from(8), "x".repeat(700))
            .into_transaction_request(),
        probe.fill(U256::from(20)).into_transaction_request(),
        probe.clear().into_transaction_request(),
        probe.spawn(B256::ZERO).into_transaction_request(),
    ];
    for call in calls {
        let estimate = provider.estimate_gas(call.clone()).await.unwrap();
        let sent = provider
            .send_transaction(call.with_gas_limit(estimate))
            .await
            .unwrap();
        let receipt = sent.get_receipt().await.unwrap();
        assert!(receipt.status());
        assert!(receipt.gas_used <= estimate);
    }
    assert_eq!(
        provider
            .estimate_gas(TransactionRequest::default().with_to(Address::ZERO))
            .await
            .unwrap(),
        21_000
    );
}

#[tokio::test]
async fn batches_and_malformed_bodies() {
    let chain = start(DevnetConfig::default()).await;
    let url = chain.url();
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" },
        { "jsonrpc": "2.0", "method": "eth_chainId" },
        { "jsonrpc": "2.0", "id": "b", "method": "eth_blockNumber", "params": [] },
        7,
    ]);
    let answers = post(&url, &batch).await;
    assert_eq!(
        answers[0],
        json!({ "jsonrpc": "2.0", "id": 1, "result": "0x7a69" })
    );
    assert_eq!(answers[1]["id"], "b");
    assert_eq!(answers[2]["error"]["code"], -32600);
    assert_eq!(answers.as_array().unwrap().len(), 3);

    let client = crate::probe::client();
    let broken = client.post(&url).body("{").send().await.unwrap();
    assert_eq!(
        broken.json::<Value>().await.unwrap()["error"]["code"],
        -32700
    );
    let large = client
        .post(&url)
        .body(vec![b' '; 9 << 20])
        .send()
        .await
        .unwrap();
    assert_eq!(large.status(), 413);
    assert_eq!(
        large.json::<Value>().await.unwrap()["error"]["code"],
        -32005
    );
    let page = client
        .post(&url)
        .header("origin", "http://example.org")
        .body("{}");
    assert_eq!(page.send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn two_clients_at_once_lose_nothing() {
    let chain = start(DevnetConfig::default()).await;
    let url = chain.url();
    let to = address!("0x00000000000000000000000000000000000000aa");
    let clients = (0..4).map(|account| {
        let url = url.clone();
        tokio::spawn(async move {
            for _ in 0..25 {
                let request =
                    json!([{ "from": dev_addresses()[account], "to": to, "value": "0x1" }]);
                rpc(&url, "eth_sendTransaction", request).await.unwrap();
            }
        })
    });
    for client in clients {
        client.await.unwrap();
    }
    let provider = wallet(&url);
    assert_eq!(provider.get_balance(to).await.unwrap(), U256::from(100));
    assert_eq!(
        provider
            .get_transaction_count(dev_addresses()[3])
            .await
            .unwrap(),
        25
    );
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let chain = start(DevnetConfig::default()).await;
    let again = DevnetConfig {
        listen: chain.address(),
        ..DevnetConfig::default()
    };
    let error = infernet_node::devnet::Devnet::start(again)
        .await
        .unwrap_err();
    assert!(matches!(error, DevnetError::AddressInUse(address) if address == chain.address()));
    assert!(error.to_string().starts_with("E-DEVNET-001"));
    assert!(!creation_code().is_empty());
}
