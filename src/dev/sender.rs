//! Sends the transactions of the development accounts, one after the other.

use std::time::Duration;

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559, TxEnvelope},
    eips::eip2718::Encodable2718 as _,
    network::TxSignerSync as _,
    primitives::{Address, B256, Bytes, TxKind, U256},
    providers::{Provider as _, ProviderBuilder, RootProvider},
    rpc::types::{TransactionReceipt, TransactionRequest},
    signers::local::PrivateKeySigner,
};

use super::DevError;

/// How long a transaction may wait for its block.
const RECEIPT_WAIT: Duration = Duration::from_secs(60);

/// How often its receipt is asked for.
const RECEIPT_POLL: Duration = Duration::from_millis(20);

/// How long connecting to something on this machine may take.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// How long one answer of it may take.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// What a development transaction offers above the base fee, wei per gas.
const PRIORITY_FEE: u128 = 1_000_000_000;

/// An account that sends transactions to one chain.
pub struct Sender {
    provider: RootProvider,
    signer: PrivateKeySigner,
    chain_id: u64,
}

impl Sender {
    /// Connects to the chain behind `url`.
    ///
    /// # Errors
    /// [`DevError::Rpc`] when it does not answer.
    pub async fn connect(url: &str, signer: PrivateKeySigner) -> Result<Self, DevError> {
        let provider = provider(url)?;
        let chain_id = provider
            .get_chain_id()
            .await
            .map_err(|e| DevError::rpc("read the chain id", &e))?;
        Ok(Self {
            provider,
            signer,
            chain_id,
        })
    }

    /// The account.
    #[must_use]
    pub fn address(&self) -> Address {
        self.signer.address()
    }

    /// The connection, for reads.
    #[must_use]
    pub fn provider(&self) -> &RootProvider {
        &self.provider
    }

    /// How many transactions of the account the chain holds.
    ///
    /// # Errors
    /// [`DevError::Rpc`].
    pub async fn nonce(&self) -> Result<u64, DevError> {
        self.provider
            .get_transaction_count(self.address())
            .pending()
            .await
            .map_err(|e| DevError::rpc("read an account's nonce", &e))
    }

    /// Sends a transaction and waits for its receipt.
    ///
    /// # Errors
    /// [`DevError::Rpc`], [`DevError::Reverted`], or [`DevError::NotIncluded`].
    pub async fn send(
        &self,
        what: &'static str,
        to: TxKind,
        input: Vec<u8>,
        value: U256,
    ) -> Result<TransactionReceipt, DevError> {
        let rpc = |e: &_| DevError::rpc(what, e);
        let input = Bytes::from(input);
        let mut request = TransactionRequest::default()
            .from(self.address())
            .value(value)
            .input(input.clone().into());
        request.to = Some(to);
        let gas = self
            .provider
            .estimate_gas(request)
            .await
            .map_err(|e| rpc(&e))?;
        let gas_price = self.provider.get_gas_price().await.map_err(|e| rpc(&e))?;
        let mut transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.nonce().await?,
            // An estimate can fall short by the refunds and the 63/64 rule.
            gas_limit: gas.saturating_add(gas / 4),
            max_fee_per_gas: gas_price.saturating_mul(2).saturating_add(PRIORITY_FEE),
            max_priority_fee_per_gas: PRIORITY_FEE,
            to,
            value,
            access_list: Default::default(),
            input,
        };
        let signature = self
            .signer
            .sign_transaction_sync(&mut transaction)
            .map_err(|e| DevError::Signing {
                reason: e.to_string(),
            })?;
        let envelope: TxEnvelope = transaction.into_signed(signature).into();
        let hash = *envelope.tx_hash();
        // The receipt is polled for by hand, so that one clock rules every wait.
        let _pending = self
            .provider
            .send_raw_transaction(&envelope.encoded_2718())
            .await
            .map_err(|e| rpc(&e))?;
        let receipt = self.receipt(what, hash).await?;
        if receipt.status() {
            Ok(receipt)
        } else {
            Err(DevError::Reverted { what, hash })
        }
    }

    async fn receipt(
        &self,
        what: &'static str,
        hash: B256,
    ) -> Result<TransactionReceipt, DevError> {
        let wait = async {
            loop {
                let found = self.provider.get_transaction_receipt(hash).await;
                if let Some(receipt) = found.map_err(|e| DevError::rpc(what, &e))? {
                    return Ok(receipt);
                }
                tokio::time::sleep(RECEIPT_POLL).await;
            }
        };
        tokio::time::timeout(RECEIPT_WAIT, wait)
            .await
            .unwrap_or(Err(DevError::NotIncluded { what, hash }))
    }
}

/// A connection without fillers: who sends, sets every field.
///
/// # Errors
/// [`DevError::Url`].
pub fn provider(url: &str) -> Result<RootProvider, DevError> {
    let url = url.parse().map_err(|_| DevError::Url {
        url: url.to_owned(),
    })?;
    Ok(ProviderBuilder::new()
        .disable_recommended_fillers()
        .connect_reqwest(client()?, url))
}

/// A client for what runs on this machine: a proxy of the environment would not reach it.
///
/// # Errors
/// [`DevError::Client`].
pub(super) fn client() -> Result<reqwest::Client, DevError> {
    reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(CONNECT_WAIT)
        .timeout(ANSWER_WAIT)
        .build()
        .map_err(|error| DevError::Client {
            reason: error.to_string(),
        })
}
