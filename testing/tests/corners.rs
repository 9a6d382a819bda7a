//! Corners that random sequences do not reach, or hardly ever: each step is compared as theirs are.

use infernet_testing::{
    evm::Build,
    model::{
        Answer, Branch, COIN, Call, ContractError, Control, Infernet, Reason, Reference,
        container_id,
    },
    twin::{Step, Twin},
};
use revm::primitives::{Address, U256};

/// Takes a step that both sides must agree on.
fn take(twin: &mut Twin, from: Address, call: &Call) {
    let step = Step::Call {
        from,
        call: call.clone(),
    };
    twin.step(&step)
        .unwrap_or_else(|mismatch| panic!("{mismatch}"));
}

/// Puts a wallet's balance or a consumer's script there.
fn set(twin: &mut Twin, control: Control) {
    twin.step(&Step::Control(control))
        .expect("a setting is no call");
}

/// A callback of the cast's first consumer, paid from its own wallet.
fn request(twin: &Twin, token: Address, amount: u64, verifier: Address) -> Call {
    Call::CreateSubscription {
        containers: "hello-world".into(),
        frequency: 1,
        period: 0,
        redundancy: 1,
        lazy: false,
        payment_token: token,
        payment_amount: U256::from(amount),
        wallet: twin.cast.wallets[0],
        verifier,
    }
}

/// A delivery by the cast's first node.
fn deliver(twin: &Twin, id: u32) -> Call {
    let node_wallet = twin.cast.wallets[3];
    Call::DeliverCompute {
        id,
        interval: 1,
        answer: Answer::default(),
        node_wallet,
    }
}

/// Our wallets take both payments from the allowance before the first is sent. Seen from outside, another of two reasons
/// wins: the reference finds first that the balance is too short.
#[test]
fn an_allowance_too_short_for_both_payments_and_no_balance() {
    let mut twin = Twin::new(Build::Paris, &Infernet);
    let [consumer, ..] = twin.cast.consumers;
    let [payer, _] = twin.cast.payers;
    let [node, ..] = twin.cast.nodes;
    let wallet = twin.cast.wallets[0];
    let token = twin.cast.tokens[1];
    let call = request(&twin, token, 10_000, Address::ZERO);
    take(&mut twin, consumer, &call);
    let amount = U256::from(5_000);
    take(
        &mut twin,
        payer,
        &Call::Approve {
            wallet,
            spender: consumer,
            token,
            amount,
        },
    );
    set(
        &mut twin,
        Control::Balance {
            token,
            account: wallet,
            amount: U256::ZERO,
        },
    );
    let call = deliver(&twin, 1);
    let reference = twin.model.under(&Reference).call(node, &call);
    let error = reference.expect_err("the reference refuses").reason;
    assert_eq!(error, Reason::Error(ContractError::TransferFailed));
    take(&mut twin, node, &call);
    assert_eq!(twin.coverage().of(Branch::TransferAllowanceShort), 1);
}

/// When ids have gone round once, a new subscription may stand where an open proof request belongs to another: then more
/// may be unlocked than was locked.
#[test]
fn a_verdict_on_a_subscription_that_was_overwritten() {
    for build in [Build::Paris, Build::Reference] {
        let rules: &dyn infernet_testing::model::Rules = match build {
            Build::Reference => &Reference,
            Build::Paris | Build::Cancun => &Infernet,
        };
        let mut twin = Twin::new(build, rules);
        let [consumer, ..] = twin.cast.consumers;
        let [node, ..] = twin.cast.nodes;
        let [verifier, _] = twin.cast.verifiers;
        let call = request(&twin, COIN, 1_000, verifier);
        take(&mut twin, consumer, &call);
        let call = deliver(&twin, 1);
        take(&mut twin, node, &call);
        twin.model.set_next_id(1);
        let coordinator = twin.model.deployment().coordinator;
        twin.world.set_storage(coordinator, U256::ZERO, U256::ONE);
        let call = request(&twin, COIN, 2_000, verifier);
        take(&mut twin, consumer, &call);
        take(
            &mut twin,
            verifier,
            &Call::FinalizeProof {
                id: 1,
                interval: 1,
                node,
                valid: true,
            },
        );
        assert_eq!(twin.coverage().of(Branch::UnlockFundsShort), 1);
        twin.compare_all()
            .unwrap_or_else(|mismatch| panic!("{mismatch}"));
    }
}

/// The address of a wallet follows from its number, whose encoding grows at 128 and at 256.
#[test]
fn wallets_beyond_the_256th() {
    let mut twin = Twin::new(Build::Paris, &Infernet);
    let owner = twin.cast.stranger;
    for _ in 0..260 {
        take(&mut twin, owner, &Call::CreateWallet { owner });
    }
    twin.compare_all()
        .unwrap_or_else(|mismatch| panic!("{mismatch}"));
}

/// Answers of any length come out of the Inbox as they went in: short ones, those beyond a contract's code size, and
/// those at the limits between.
#[test]
fn long_answers_in_the_inbox() {
    let mut twin = Twin::new(Build::Paris, &Infernet);
    let [node, ..] = twin.cast.nodes;
    let container = container_id("hello-world");
    for length in [0, 64, 65, 24_566, 24_567, 24_568, 60_000] {
        let part = length / 3;
        let answer = Answer {
            input: vec![1; part].into(),
            output: vec![2; part].into(),
            proof: vec![3; length - 2 * part].into(),
        };
        take(
            &mut twin,
            node,
            &Call::WriteInbox {
                container_id: container,
                answer,
            },
        );
    }
    twin.compare_all()
        .unwrap_or_else(|mismatch| panic!("{mismatch}"));
}
