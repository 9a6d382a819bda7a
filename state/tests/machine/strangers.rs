//! What strangers do within the node's own transactions: a token, a verifier or a consumer that a
//! delivery calls has the word, and calls what it likes. The books are those of an honest life.

use std::collections::BTreeMap;

use crate::common::{act::world_config, *};
use infernet_state::{
    event::{Subscription, WalletChange, WalletFact},
    ledger::{Balance, Code, Role},
    types::{Address, Amount},
};

/// A wallet of the factory, as anybody can have one, and who owns it.
const STRANGER: (Address, Address) = (Address([0x67; 20]), Address([0x68; 20]));

/// Who pays the node.
const PAYER: (Address, Address) = (CONSUMER_WALLET, CONSUMER);

/// What a stranger moves into the node's wallet: money that is there.
const GIFT: u128 = 40;

fn says((wallet, owner): (Address, Address), change: WalletChange) -> Next {
    Next::Wallet(WalletFact {
        wallet,
        owner,
        tx: hash("replaced", 0),
        change,
    })
}

fn transfer(from: (Address, Address), to: Address, amount: u128) -> Next {
    let change = WalletChange::Transferred {
        spender: from.1,
        token: NATIVE,
        to,
        amount: Amount::from(amount),
    };
    says(from, change)
}

fn escrow(of: (Address, Address), amount: u128, locked: bool) -> Next {
    let change = WalletChange::Escrowed {
        spender: of.1,
        token: NATIVE,
        amount: Amount::from(amount),
        locked,
    };
    says(of, change)
}

/// What a callback can bring about, of strangers and of the very consumer that pays the node.
fn trouble() -> Vec<Next> {
    vec![
        // Another subscription is funded, by a stranger and by the payer.
        escrow(STRANGER, 7_000_000, true),
        escrow(PAYER, 777, true),
        // Reserves are released: one is as large as what the node is paid for an answer.
        escrow(PAYER, 333, false),
        escrow(PAYER, 19_000, false),
        transfer(STRANGER, OTHER, 5_000_000),
        transfer(STRANGER, NODE_WALLET, GIFT),
        // The proof of another node is judged, and it is paid by the same payer.
        escrow(STRANGER, 1_000, false),
        escrow(PAYER, 850, false),
        transfer(PAYER, STRANGER.0, 850),
        // Another's is found invalid.
        escrow(STRANGER, 1_000, false),
        escrow(PAYER, 850, false),
        transfer(STRANGER, CONSUMER_WALLET, 1_000),
        escrow(PAYER, 19_000, false),
    ]
}

/// One life of some deliveries.
#[derive(Clone, Copy, Debug)]
struct Life {
    verifier: bool,
    batches: bool,
    /// Whether a proof of another delivery is judged with each, and how.
    judged: Option<bool>,
    /// After how many of a delivery's own events strangers have the word, if they have.
    after: Option<usize>,
}

impl Life {
    fn live(self) -> World {
        let mut world = World::new(batching(
            world_config(false),
            if self.batches { 3 } else { 0 },
        ));
        if self.judged.is_some() {
            world.next.push(Next::Create(verified(10_000)));
            world.run(6);
        }
        let before = world.delivered();
        let mut acts = trouble();
        acts.extend(self.judged.map(|valid| Next::Judge(0, valid)));
        world.meddle(self.after.map(|after| Meddling { after, acts }));
        for _ in 0..3 {
            world.next.push(Next::Create(self.terms()));
        }
        world.run(8);
        let delivered = world.delivered() - before;
        assert_eq!(delivered, 3, "{self:?}");
        world.meddle(None);
        if let (Some(valid), None) = (self.judged, self.after) {
            world.next = vec![Next::Judge(0, valid); delivered];
            world.run(1);
        }
        world.finalize(0);
        assert_eq!(world.replayed(), world.machine);
        world
    }

    fn terms(self) -> Subscription {
        let mut terms = verified(20_000);
        if !self.verifier {
            terms.container_id = subscription(&["alpha"]).container_id;
            terms.verifier = Address::ZERO;
        }
        terms
    }
}

/// The accounts of the coin, but for gas: when a verdict comes decides how often is approved.
fn books(world: &World) -> BTreeMap<Role, Balance> {
    let accounts = world.machine.ledger().accounts();
    accounts
        .filter(|(account, _)| account.token == NATIVE)
        .filter(|(account, _)| !matches!(account.role, Role::Gas | Role::NodeAccount))
        .map(|(account, totals)| (account.role, totals.posted()))
        .filter(|(_, balance)| *balance != Balance::Debit(0.into()))
        .collect()
}

/// Entries of a code, and what they add up to.
fn booked(world: &World, code: Code) -> Vec<u128> {
    let entries = world.machine.ledger().entries();
    entries
        .filter(|(_, entry)| entry.code == code)
        .map(|(_, entry)| entry.amount.0.try_into().expect("a small amount"))
        .collect()
}

#[test]
fn strangers_within_a_delivery_falsify_no_account() {
    for (verifier, batches) in [(false, false), (true, false), (false, true), (true, true)] {
        for judged in [None, Some(true), Some(false)] {
            let life = |after| Life {
                verifier,
                batches,
                judged,
                after,
            };
            let honest = life(None).live();
            // Before its first event, between any two, and behind its last.
            for after in 0..=5 {
                let world = life(Some(after)).live();
                let gifts = [GIFT; 3];
                assert_eq!(
                    booked(&world, Code::Deposit),
                    gifts,
                    "{:?}",
                    life(Some(after))
                );
                let mut found = books(&world);
                give(&mut found, gifts.iter().sum());
                assert_eq!(found, books(&honest), "{:?}", life(Some(after)));
            }
        }
    }
}

/// Takes out of some books what was given to the node's wallet, which may stand on either side.
fn give(books: &mut BTreeMap<Role, Balance>, amount: u128) {
    let given = amount.into();
    for role in [Role::NodeWallet, Role::Suspense] {
        let sum = match (role, books.get(&role)) {
            (Role::NodeWallet, Some(Balance::Credit(short))) => {
                Balance::Credit(short.checked_add(given).expect("little money"))
            }
            (_, Some(Balance::Debit(sum))) => {
                Balance::Debit(sum.checked_sub(given).expect("it was given"))
            }
            (_, Some(Balance::Credit(sum))) => {
                Balance::Credit(sum.checked_sub(given).expect("it was given"))
            }
            (_, None) => panic!("{role:?} has no entry"),
        };
        books.insert(role, sum);
    }
}

/// A funded subscription unlocks the price before it pays it: neither that nor what is left of
/// another's reserve makes an escrow of the payout, although as much is owed for a proof.
#[test]
fn what_is_released_before_a_payout_does_not_make_an_escrow_of_it() {
    for released in [8_947, 8_500] {
        let mut world = world_with(with_prover(), &verified(10_000), 1);
        world.mine(1);
        world.run(6);
        let mut alike = subscription(&["alpha"]);
        alike.payment_amount = Amount::from(8_947);
        world.next = vec![Next::Create(alike)];
        world.meddle(Some(Meddling {
            after: 0,
            acts: vec![escrow(PAYER, released, false)],
        }));
        world.run(6);
        assert_eq!(world.delivered(), 2);
        assert_eq!(booked(&world, Code::EscrowPaid), []);
        assert_eq!(booked(&world, Code::Payout), [8_500]);
        world.meddle(None);
        world.next = vec![Next::Judge(0, true)];
        world.run(4);
        assert_eq!(booked(&world, Code::EscrowPaid), [8_500]);
    }
}

/// Of two answers in one batch, the consumer of the first funds another subscription in its
/// callback: the second one's proof knows its own escrow all the same.
#[test]
fn a_lock_between_two_answers_is_no_escrow_of_the_second() {
    let mut world = World::new(batching(with_prover(), 3));
    world.next = vec![Next::Create(verified(10_000)); 2];
    world.meddle(Some(Meddling {
        after: usize::MAX,
        acts: vec![escrow(PAYER, 123, true)],
    }));
    world.run(8);
    assert_eq!(world.delivered(), 2);
    let escrows: Vec<Amount> = world
        .machine
        .proofs()
        .iter()
        .map(|(_, _, proof)| proof.escrow)
        .collect();
    assert_eq!(escrows, [Amount::from(8_500), Amount::from(8_500)]);
    assert_eq!(booked(&world, Code::EscrowLocked), [8_500, 8_500]);
}
