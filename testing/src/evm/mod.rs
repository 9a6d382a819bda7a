//! A small EVM in memory: deploy, call from any account at any block time, read.
//!
//! There is no transaction pool, no signature and no gas price; each call is a transaction of its
//! own in a block of its own time. A [`World`] is cheap to clone: deploy once, clone per case.

mod artifact;

use std::{collections::BTreeMap, fmt, sync::OnceLock};

use alloy_sol_types::{SolCall, SolValue};
use revm::{
    Context, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext, MainnetEvm,
    context::{
        BlockEnv, CfgEnv, TxEnv,
        result::{ExecutionResult, Output},
    },
    database::{CacheDB, EmptyDB},
    handler::MainnetContext,
    primitives::{Address, Bytes, LogData, TxKind, U256, hardfork::SpecId},
    state::AccountInfo,
};

pub use artifact::{Build, built_in, creation_code};

use crate::{
    abi::Message,
    model::{Deployment, address},
};

/// Gas of one call: far more than any of ours needs.
const GAS_LIMIT: u64 = 1_000_000_000;

/// The chain id, that of development chains.
pub const CHAIN_ID: u64 = 31_337;

/// Who deploys the contracts of [`World::deployed`].
pub const DEPLOYER: Address = address(0xde9_10fe6);

/// What became of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Execution {
    /// It succeeded.
    Done {
        /// What it returned.
        returned: Bytes,
        /// Its events: contract, topics, data.
        logs: Vec<(Address, LogData)>,
        /// Gas used.
        gas: u64,
    },
    /// It reverted, with this data.
    Reverted(Bytes),
    /// It ended in another way: out of gas, an invalid instruction, a sender without the coins.
    Failed(String),
}

impl Execution {
    /// What the call returned.
    ///
    /// # Panics
    /// When it did not succeed, with what it said.
    #[must_use]
    pub fn unwrap(self) -> Bytes {
        match self {
            Self::Done { returned, .. } => returned,
            Self::Reverted(_) | Self::Failed(_) => panic!("the call did not succeed: {self}"),
        }
    }

    /// Whether the call succeeded.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }
}

impl fmt::Display for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done { returned, .. } => write!(f, "returned {returned}"),
            Self::Reverted(data) => write!(f, "reverted with {data}"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
        }
    }
}

type Db = CacheDB<EmptyDB>;

/// An EVM with its state and the time of its next block.
pub struct World {
    evm: MainnetEvm<MainnetContext<Db>>,
}

impl Clone for World {
    fn clone(&self) -> Self {
        self.snapshot().world()
    }
}

/// The state of a [`World`], to start from again; may be shared between threads.
#[derive(Clone, Debug)]
pub struct Snapshot {
    db: Db,
    time: u64,
}

impl Snapshot {
    /// A world in this state.
    #[must_use]
    pub fn world(&self) -> World {
        World::with(self.db.clone(), self.time)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("time", &self.time())
            .finish_non_exhaustive()
    }
}

impl World {
    /// An empty chain.
    #[must_use]
    pub fn new(time: u64) -> Self {
        Self::with(CacheDB::new(EmptyDB::new()), time)
    }

    fn with(db: Db, time: u64) -> Self {
        let mut cfg = CfgEnv::new_with_spec(SpecId::PRAGUE).with_chain_id(CHAIN_ID);
        cfg.disable_nonce_check = true;
        cfg.disable_eip3607 = true;
        cfg.disable_block_gas_limit = true;
        cfg.tx_gas_limit_cap = Some(GAS_LIMIT);
        let block = BlockEnv {
            timestamp: U256::from(time),
            ..BlockEnv::default()
        };
        let evm = Context::mainnet()
            .with_db(db)
            .with_cfg(cfg)
            .with_block(block)
            .build_mainnet();
        Self { evm }
    }

    /// A chain with a deployment of Infernet (section 1): fee recipient is [`DEPLOYER`], the fee 5 %.
    ///
    /// The contracts are deployed once in the life of the process; every call clones.
    #[must_use]
    pub fn deployed(build: Build) -> (Self, Deployment) {
        static WORLDS: [OnceLock<(Snapshot, Deployment)>; 3] =
            [OnceLock::new(), OnceLock::new(), OnceLock::new()];
        let slot = build.slot(&WORLDS);
        let (snapshot, deployment) = slot.get_or_init(|| {
            let mut world = Self::new(1_700_000_000);
            let deployment = world.deploy_infernet(build, DEPLOYER, DEPLOYER, 500);
            (world.snapshot(), deployment)
        });
        (snapshot.world(), *deployment)
    }

    /// The state as it is.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            db: self.evm.ctx.journaled_state.database.clone(),
            time: self.time(),
        }
    }

    /// Deploys the contracts in the order of section 1.
    ///
    /// # Panics
    /// When the deployer has sent transactions before, so that the addresses are not those predicted.
    pub fn deploy_infernet(
        &mut self,
        build: Build,
        deployer: Address,
        fee_recipient: Address,
        fee: u16,
    ) -> Deployment {
        let at = Deployment::predict(CHAIN_ID, deployer, 0);
        let registry = at.registry;
        let addresses = (
            at.coordinator,
            at.inbox,
            at.reader,
            at.fee,
            at.wallet_factory,
        );
        let contracts = [
            ("Registry", addresses.abi_encode_params(), at.registry),
            ("EIP712Coordinator", registry.abi_encode(), at.coordinator),
            ("Inbox", registry.abi_encode(), at.inbox),
            ("Reader", registry.abi_encode(), at.reader),
            ("Fee", (fee_recipient, fee).abi_encode_params(), at.fee),
            ("WalletFactory", registry.abi_encode(), at.wallet_factory),
        ];
        for (name, arguments, expected) in contracts {
            let created = self.create(deployer, &build.code(name), &arguments);
            assert_eq!(created, expected, "the deployer has a history");
        }
        at
    }

    /// Block time in seconds.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.evm.ctx.block.timestamp.saturating_to()
    }

    /// Sets the time of the next block, in seconds.
    pub fn set_time(&mut self, time: u64) {
        let block = &mut self.evm.ctx.block;
        block.timestamp = U256::from(time);
        block.number = block.number.saturating_add(U256::ONE);
    }

    /// What an account holds in wei.
    #[must_use]
    pub fn coins(&self, account: Address) -> U256 {
        let cache = &self.evm.ctx.journaled_state.database.cache;
        cache
            .accounts
            .get(&account)
            .map(|account| account.info.balance)
            .unwrap_or_default()
    }

    /// Everybody who holds coins, in the order of their addresses.
    #[must_use]
    pub fn all_coins(&self) -> BTreeMap<Address, U256> {
        let cache = &self.evm.ctx.journaled_state.database.cache;
        cache
            .accounts
            .iter()
            .filter(|(_, account)| !account.info.balance.is_zero())
            .map(|(address, account)| (*address, account.info.balance))
            .collect()
    }

    /// Sets what an account holds in wei.
    pub fn set_coins(&mut self, account: Address, amount: U256) {
        let db = &mut self.evm.ctx.journaled_state.database;
        let mut info = db
            .cache
            .accounts
            .get(&account)
            .map_or_else(AccountInfo::default, |account| account.info.clone());
        info.balance = amount;
        db.insert_account_info(account, info);
    }

    /// Overwrites a storage word.
    pub fn set_storage(&mut self, account: Address, slot: U256, value: U256) {
        let db = &mut self.evm.ctx.journaled_state.database;
        let Ok(()) = db.insert_account_storage(account, slot, value);
    }

    /// Creates a contract from its creation code and its ABI-encoded constructor arguments.
    ///
    /// # Panics
    /// When the constructor reverts.
    pub fn create(&mut self, from: Address, code: &Bytes, arguments: &[u8]) -> Address {
        let data = [code.as_ref(), arguments].concat().into();
        let tx = transaction(from, TxKind::Create, U256::ZERO, data);
        match self.evm.transact_commit(tx) {
            Ok(ExecutionResult::Success {
                output: Output::Create(_, Some(created)),
                ..
            }) => created,
            other => panic!("the contract was not created: {other:?}"),
        }
    }

    /// Makes a call; what it changes stays.
    pub fn execute(&mut self, from: Address, message: &Message) -> Execution {
        let tx = transaction(
            from,
            TxKind::Call(message.to),
            message.value,
            message.data.clone(),
        );
        self.evm
            .transact_commit(tx)
            .map_or_else(|error| Execution::Failed(error.to_string()), execution)
    }

    /// Makes a call at a block time; nothing is changed.
    pub fn simulate(&mut self, from: Address, message: &Message, time: u64) -> Execution {
        let tx = transaction(
            from,
            TxKind::Call(message.to),
            message.value,
            message.data.clone(),
        );
        let now = std::mem::replace(&mut self.evm.ctx.block.timestamp, U256::from(time));
        let end = self.evm.transact(tx);
        self.evm.ctx.block.timestamp = now;
        end.map_or_else(
            |error| Execution::Failed(error.to_string()),
            |end| execution(end.result),
        )
    }

    /// A call of a function; what it changes stays.
    pub fn call(&mut self, from: Address, to: Address, call: &impl SolCall) -> Execution {
        let data = call.abi_encode().into();
        self.execute(
            from,
            &Message {
                to,
                value: U256::ZERO,
                data,
            },
        )
    }

    /// What a function returns; nothing is changed. `None` when it reverts or returns something else.
    pub fn read<C: SolCall>(&mut self, to: Address, call: &C) -> Option<C::Return> {
        self.read_as(Address::ZERO, to, call)
    }

    /// As [`World::read`], for functions that look at their caller.
    pub fn read_as<C: SolCall>(
        &mut self,
        from: Address,
        to: Address,
        call: &C,
    ) -> Option<C::Return> {
        let tx = transaction(from, TxKind::Call(to), U256::ZERO, call.abi_encode().into());
        match self.evm.transact(tx).ok()?.result {
            ExecutionResult::Success { output, .. } => C::abi_decode_returns(output.data()).ok(),
            ExecutionResult::Revert { .. } | ExecutionResult::Halt { .. } => None,
        }
    }
}

fn execution(result: ExecutionResult) -> Execution {
    match result {
        ExecutionResult::Success {
            output, logs, gas, ..
        } => Execution::Done {
            returned: output.into_data(),
            logs: logs
                .into_iter()
                .map(|log| (log.address, log.data))
                .collect(),
            gas: gas.tx_gas_used(),
        },
        ExecutionResult::Revert { output, .. } => Execution::Reverted(output),
        ExecutionResult::Halt { reason, .. } => Execution::Failed(format!("{reason:?}")),
    }
}

fn transaction(caller: Address, kind: TxKind, value: U256, data: Bytes) -> TxEnv {
    TxEnv {
        caller,
        gas_limit: GAS_LIMIT,
        gas_price: 0,
        kind,
        value,
        data,
        chain_id: Some(CHAIN_ID),
        ..TxEnv::default()
    }
}
