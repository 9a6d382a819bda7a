//! Puts the contracts onto the embedded chain, at the addresses of the original's devnet
//! (`docs/spec/services.md` 7), so that existing tutorials fit.
//!
//! Every step belongs to one nonce of its account, so that a start after a crash goes on where
//! the last one ended.

use alloy::{
    dyn_abi::DynSolValue,
    primitives::{Address, TxKind, U256, address},
    providers::Provider as _,
    sol_types::SolCall as _,
};
use infernet_contracts::{Wallet, WalletFactory, artifacts, creation_code};

use super::{DevError, Role, Sender};

/// Where everything stands on a fresh chain.
pub const REGISTRY: Address = address!("663F3ad617193148711d28f5334eE4Ed07016602");
const COORDINATOR: Address = address!("2E983A1Ba5e8b38AAAeC4B440B9dDcFBf72E15d1");
const INBOX: Address = address!("8438Ad1C834623CfF278AB6829a248E37C2D7E3f");
const READER: Address = address!("BC9129Dc0487fc2E169941C75aABC539f208fb01");
const FEE: Address = address!("6e989C01a3e3A94C973A62280a72EC335598490e");
/// Makes wallets.
pub const WALLET_FACTORY: Address = address!("F6168876932289D073567f347121A267095f3DD6");
/// The node's wallet: the first that the factory makes.
pub const NODE_WALLET: Address = address!("60985ee8192B322c3CAbA97A9A9f7298bdc4335C");
/// The example consumer: the first contract of its own account.
pub const CONSUMER: Address = address!("057ef64E23666F000b34aE31332854aCBd1c8544");
/// The consumer's wallet: the second that the factory makes.
pub const CONSUMER_WALLET: Address = address!("7749f632935738eA2dD32EBecBb8B9145E1eFeF6");

/// The protocol fee in 1/10,000, charged on both sides of a payment.
pub const PROTOCOL_FEE: u16 = 500;

/// What the consumer's wallet holds at first, in wei: 100 coins.
const CONSUMER_FUNDS: U256 = U256::from_limbs([7_766_279_631_452_241_920, 5, 0, 0]);

/// One step: the creation of a contract, or a call.
struct Step {
    what: &'static str,
    to: TxKind,
    input: Vec<u8>,
    value: U256,
    /// Where a creation must land.
    lands: Option<Address>,
}

impl Step {
    fn create(
        what: &'static str,
        artifact: &str,
        arguments: &[DynSolValue],
        lands: Address,
    ) -> Result<Self, DevError> {
        let mut input = creation_code(artifact)
            .ok_or(DevError::Artifact { what })?
            .to_vec();
        input.extend(DynSolValue::Tuple(arguments.to_vec()).abi_encode_params());
        Ok(Self {
            what,
            to: TxKind::Create,
            input,
            value: U256::ZERO,
            lands: Some(lands),
        })
    }

    fn call(what: &'static str, to: Address, input: Vec<u8>, value: U256) -> Self {
        Self {
            what,
            to: TxKind::Call(to),
            input,
            value,
            lands: None,
        }
    }
}

fn contracts() -> Result<Vec<Step>, DevError> {
    let registry = [DynSolValue::Address(REGISTRY)];
    let addresses = [COORDINATOR, INBOX, READER, FEE, WALLET_FACTORY].map(DynSolValue::Address);
    let fee = [
        DynSolValue::Address(Role::FeeRecipient.signer().address()),
        DynSolValue::Uint(U256::from(PROTOCOL_FEE), 16),
    ];
    let wallet = WalletFactory::createWalletCall {
        initialOwner: Role::Node.signer().address(),
    };
    Ok(vec![
        Step::create("Registry", artifacts::REGISTRY, &addresses, REGISTRY)?,
        Step::create(
            "Coordinator",
            artifacts::EIP712_COORDINATOR,
            &registry,
            COORDINATOR,
        )?,
        Step::create("Inbox", artifacts::INBOX, &registry, INBOX)?,
        Step::create("Reader", artifacts::READER, &registry, READER)?,
        Step::create("Fee", artifacts::FEE, &fee, FEE)?,
        Step::create(
            "WalletFactory",
            artifacts::WALLET_FACTORY,
            &registry,
            WALLET_FACTORY,
        )?,
        Step::call(
            "the node's wallet",
            WALLET_FACTORY,
            wallet.abi_encode(),
            U256::ZERO,
        ),
    ])
}

fn consumer() -> Result<Vec<Step>, DevError> {
    let registry = [DynSolValue::Address(REGISTRY)];
    let wallet = WalletFactory::createWalletCall {
        initialOwner: Role::Consumer.signer().address(),
    };
    let approval = Wallet::approveCall {
        spender: CONSUMER,
        token: Address::ZERO,
        amount: CONSUMER_FUNDS,
    };
    Ok(vec![
        Step::create(
            "IrisConsumer",
            artifacts::IRIS_CONSUMER,
            &registry,
            CONSUMER,
        )?,
        Step::call(
            "the consumer's wallet",
            WALLET_FACTORY,
            wallet.abi_encode(),
            U256::ZERO,
        ),
        Step::call(
            "funds for the consumer",
            CONSUMER_WALLET,
            Vec::new(),
            CONSUMER_FUNDS,
        ),
        Step::call(
            "the allowance",
            CONSUMER_WALLET,
            approval.abi_encode(),
            U256::ZERO,
        ),
    ])
}

/// Deploys what is missing and says how many steps that took; 0 on a chain that has it all.
///
/// # Durability
/// The chain syncs each transaction before it answers.
///
/// # Errors
/// [`DevError`], also when a contract would land elsewhere (the account was used otherwise).
pub async fn deploy(url: &str) -> Result<usize, DevError> {
    let mut sent = 0;
    for (role, steps) in [
        (Role::Deployer, contracts()?),
        (Role::Consumer, consumer()?),
    ] {
        let sender = Sender::connect(url, role.signer()).await?;
        let done = usize::try_from(sender.nonce().await?).unwrap_or(usize::MAX);
        for step in steps.into_iter().skip(done) {
            let receipt = sender
                .send(step.what, step.to, step.input, step.value)
                .await?;
            if let (Some(wanted), Some(found)) = (step.lands, receipt.contract_address)
                && wanted != found
            {
                return Err(DevError::Landed {
                    what: step.what,
                    wanted,
                    found,
                });
            }
            sent += 1;
        }
    }
    let provider = super::sender::provider(url)?;
    for (what, address) in [("Coordinator", COORDINATOR), ("IrisConsumer", CONSUMER)] {
        let code = provider
            .get_code_at(address)
            .await
            .map_err(|e| DevError::rpc("read a contract's code", &e))?;
        if code.is_empty() {
            return Err(DevError::NoContract { what, address });
        }
    }
    Ok(sent)
}
