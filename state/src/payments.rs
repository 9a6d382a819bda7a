//! Which events of wallets a delivery of the node brought about, and which a verdict did.
//!
//! Strangers have the word in the node's own transactions: tokens, verifiers and consumers are
//! called by its deliveries, and may have any wallet of the factory moved. A delivery itself moves
//! its payer's funds in an order of its own (`docs/spec/contracts.md` 3), and in sum just its price:
//!
//! | | without a verifier | with one |
//! |---|---|---|
//! | 1 | transfer to the protocol | transfer to the protocol |
//! | 2 | transfer of all that is left, to the node's wallet | transfer to the protocol |
//! | 3 | | transfer to the verifier |
//! | 4 | | lock of all that is left |
//!
//! Beside it only a verdict moves funds in the same spender's name, and unlocks a stake and then
//! the escrow directly before; and only funding a subscription locks them. So what does not come
//! next in this order is not the delivery's.

use alloc::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::types::{Address, Amount, DeliveryNo, Hash};

/// How many transfers a delivery without a verifier makes.
const TRANSFERS_PLAIN: u8 = 2;

/// How many one with a verifier makes.
const TRANSFERS_VERIFIED: u8 = 3;

/// Who pays: a subscription pays from one wallet, in one name and in one token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Payer {
    /// In which transaction.
    pub(crate) tx: Hash,
    /// The wallet.
    pub(crate) wallet: Address,
    /// Whose allowance is used.
    pub(crate) spender: Address,
    /// The token.
    pub(crate) token: Address,
}

/// A delivery that its payer's events have not explained wholly.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Expected {
    delivery: DeliveryNo,
    /// What of its price is not explained.
    left: Amount,
    verified: bool,
    /// How many of its transfers were seen.
    transfers: u8,
    /// To whom the first of them went.
    protocol: Address,
}

impl Expected {
    /// Whether a transfer is the next thing that it does.
    fn moves(&self, amount: Amount) -> bool {
        match (self.verified, self.transfers) {
            (false, 0) | (true, 0..TRANSFERS_VERIFIED) => amount <= self.left,
            (false, 1) => amount == self.left,
            (false, 2..) | (true, TRANSFERS_VERIFIED..) => false,
        }
    }

    /// Whether a lock is.
    fn locks(&self, amount: Amount) -> bool {
        self.verified && self.transfers == TRANSFERS_VERIFIED && amount == self.left
    }

    fn is_explained(&self) -> bool {
        !self.verified && self.transfers == TRANSFERS_PLAIN
    }
}

/// Whose share of a price a transfer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Share {
    /// The protocol's: it is paid before anybody else.
    Protocol,
    /// The node's or the verifier's.
    Other,
}

/// What a wallet unlocked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Release {
    payer: Payer,
    amount: Amount,
    /// The wallet that unlocked something directly before it, in the same transaction.
    before: Option<Address>,
}

impl Release {
    /// Something was unlocked directly after `last`.
    pub(crate) fn after(last: Option<Self>, payer: Payer, amount: Amount) -> Self {
        let last = last.map(|last| last.payer);
        Self {
            payer,
            amount,
            before: last
                .filter(|last| last.tx == payer.tx)
                .map(|last| last.wallet),
        }
    }

    /// Whether a transfer directly after it is a verdict's: it pays the escrow to the node whose
    /// stake was unlocked before.
    pub(crate) fn pays(&self, payer: Payer, to: Address, amount: Amount) -> bool {
        (self.payer, self.amount, self.before) == (payer, amount, Some(to))
    }
}

/// What the payers of the head's transactions have still to explain.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Payments {
    /// The deliveries of each, in the order in which the contract makes them.
    due: BTreeMap<Payer, VecDeque<Expected>>,
    /// What the newest event of a wallet unlocked, if it did.
    pub(crate) released: Option<Release>,
}

impl Payments {
    /// A delivery has its price to come.
    pub(crate) fn expect(
        &mut self,
        delivery: DeliveryNo,
        payer: Payer,
        price: Amount,
        verified: bool,
    ) {
        self.due.entry(payer).or_default().push_back(Expected {
            delivery,
            left: price,
            verified,
            transfers: 0,
            protocol: Address::ZERO,
        });
    }

    /// Whose share of a delivery's price a transfer is; `None` when it is none.
    pub(crate) fn transferred(
        &mut self,
        payer: Payer,
        to: Address,
        amount: Amount,
    ) -> Option<Share> {
        let dues = self.due.get_mut(&payer)?;
        let due = dues.front_mut().filter(|due| due.moves(amount))?;
        due.left = due.left.checked_sub(amount)?;
        if due.transfers == 0 {
            due.protocol = to;
        }
        due.transfers = due.transfers.saturating_add(1);
        let share = if due.protocol == to {
            Share::Protocol
        } else {
            Share::Other
        };
        dues.pop_front_if(|due| due.is_explained());
        Some(share)
    }

    /// The delivery whose escrow a lock is; `None` when it is nobody's.
    pub(crate) fn locked(&mut self, payer: Payer, amount: Amount) -> Option<DeliveryNo> {
        let dues = self.due.get_mut(&payer)?;
        let due = dues.pop_front_if(|due| due.locks(amount))?;
        Some(due.delivery)
    }
}
