//! A block's facts as events that fit the log.

use infernet_state::{
    Event,
    codec::EVENT_BYTES_MAX,
    event::ChainFact,
    types::{Address, BlockRef},
};

/// The facts of one event take at most this many bytes, so that with its head it stays below
/// the largest event. A block with more is recorded as several events in one atomic step.
const FACTS_BYTES_MAX: usize = EVENT_BYTES_MAX - 1024;

/// The most that a creation takes, encoded: two words, six addresses and small numbers; and a
/// wallet's event.
const LARGE_BYTES_MAX: usize = 256;

/// The most that a receipt takes: two words and five numbers.
const RECEIPT_BYTES_MAX: usize = 128;

/// The most that anything else takes: an address and small numbers.
const SMALL_BYTES_MAX: usize = 48;

/// Which pass of the machine over a block takes a fact. Where a block does not fit one event,
/// its facts are put in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pass {
    /// Creations come first: a delivery may have created its subscription.
    Creation,
    /// The node's responses: they say which items of a batch were delivered.
    Response,
    /// The node's receipts, which are judged by the responses before them.
    Receipt,
    /// What is read with both at hand. As much of it as strangers like.
    Rest,
}

impl Pass {
    fn is_own(self) -> bool {
        matches!(self, Self::Response | Self::Receipt)
    }
}

/// The events of a block: one, or where its facts do not fit one, several, which the machine
/// takes as one block when they follow each other. No stranger's facts come between the responses
/// of the node and its receipts: some 1,000 of them fit one event, more than any block holds.
pub(super) fn in_parts(block: BlockRef, mut facts: Vec<ChainFact>, node: Address) -> Vec<Event> {
    let bytes: usize = facts.iter().map(bytes_max).sum();
    if bytes <= FACTS_BYTES_MAX {
        return vec![Event::ChainCommitted { block, facts }];
    }
    facts.sort_by_key(|fact| pass_of(fact, node));
    let own = facts.iter().filter(|fact| pass_of(fact, node).is_own());
    let own_bytes: usize = own.map(bytes_max).sum();
    let mut events = Vec::new();
    let (mut part, mut room, mut before) = (Vec::new(), FACTS_BYTES_MAX, Pass::Creation);
    for fact in facts {
        let (pass, bytes) = (pass_of(&fact, node), bytes_max(&fact));
        let wanted = if pass.is_own() && !before.is_own() {
            own_bytes.min(FACTS_BYTES_MAX)
        } else {
            bytes
        };
        if wanted > room {
            let facts = std::mem::take(&mut part);
            events.push(Event::ChainCommitted { block, facts });
            room = FACTS_BYTES_MAX;
        }
        part.push(fact);
        room -= bytes;
        before = pass;
    }
    events.push(Event::ChainCommitted { block, facts: part });
    events
}

fn pass_of(fact: &ChainFact, node: Address) -> Pass {
    match fact {
        ChainFact::SubscriptionCreated { .. } => Pass::Creation,
        ChainFact::TransactionIncluded(_) | ChainFact::ForeignNonceUsed { .. } => Pass::Receipt,
        ChainFact::SubscriptionFulfilled { node: by, .. } if *by == node => Pass::Response,
        ChainFact::SubscriptionFulfilled { .. }
        | ChainFact::SubscriptionCancelled { .. }
        | ChainFact::ProofVerified { .. }
        | ChainFact::Wallet(_) => Pass::Rest,
    }
}

fn bytes_max(fact: &ChainFact) -> usize {
    match fact {
        ChainFact::SubscriptionCreated { .. } | ChainFact::Wallet(_) => LARGE_BYTES_MAX,
        ChainFact::TransactionIncluded(_) => RECEIPT_BYTES_MAX,
        ChainFact::SubscriptionFulfilled { .. }
        | ChainFact::SubscriptionCancelled { .. }
        | ChainFact::ProofVerified { .. }
        | ChainFact::ForeignNonceUsed { .. } => SMALL_BYTES_MAX,
    }
}

#[cfg(test)]
mod tests {
    use infernet_state::{
        codec,
        event::{Receipt, Subscription, WalletChange, WalletFact},
        types::{Amount, BlockTime, Hash, Interval, Nonce, SubscriptionId},
    };

    use super::*;

    const NODE: Address = Address([255; 20]);

    const BLOCK: BlockRef = BlockRef {
        number: u64::MAX,
        hash: Hash([255; 32]),
        time: BlockTime(u64::MAX),
    };

    fn creation() -> ChainFact {
        ChainFact::SubscriptionCreated {
            id: SubscriptionId(u32::MAX),
            subscription: Subscription {
                owner: Address([255; 20]),
                active_at: u32::MAX,
                period: u32::MAX,
                frequency: u32::MAX,
                redundancy: u16::MAX,
                container_id: Hash([255; 32]),
                lazy: true,
                verifier: Address([255; 20]),
                payment_amount: Amount::MAX,
                payment_token: Address([255; 20]),
                wallet: Address([255; 20]),
            },
            delegation: Some(u32::MAX),
        }
    }

    fn transfer() -> ChainFact {
        ChainFact::Wallet(WalletFact {
            wallet: Address([255; 20]),
            owner: Address([255; 20]),
            tx: Hash([255; 32]),
            change: WalletChange::Transferred {
                spender: Address([255; 20]),
                token: Address([255; 20]),
                to: Address([255; 20]),
                amount: Amount::MAX,
            },
        })
    }

    fn receipt(nonce: u64) -> ChainFact {
        ChainFact::TransactionIncluded(Receipt {
            nonce: Nonce(nonce),
            tx: Hash([255; 32]),
            succeeded: true,
            gas_used: u64::MAX,
            effective_gas_price: u128::MAX,
            l1_fee: Amount::MAX,
        })
    }

    fn fulfilled(id: u32, node: Address) -> ChainFact {
        ChainFact::SubscriptionFulfilled {
            id: SubscriptionId(id),
            node,
        }
    }

    fn parts(facts: &[ChainFact]) -> Vec<Vec<ChainFact>> {
        let events = in_parts(BLOCK, facts.to_vec(), NODE);
        let parts = events.into_iter().map(|event| {
            codec::encode(&event).expect("it fits");
            match event {
                Event::ChainCommitted { facts, .. } => facts,
                other => panic!("{other:?}"),
            }
        });
        parts.collect()
    }

    #[test]
    fn a_crowded_block_fits_its_events() {
        let cancelled = ChainFact::SubscriptionCancelled {
            id: SubscriptionId(u32::MAX),
        };
        let judged = ChainFact::ProofVerified {
            id: SubscriptionId(u32::MAX),
            interval: Interval(u32::MAX),
            node: NODE,
            active: true,
            valid: true,
        };
        let foreign = ChainFact::ForeignNonceUsed {
            nonce: Nonce(u64::MAX),
        };
        for fact in [
            creation(),
            transfer(),
            receipt(u64::MAX),
            fulfilled(u32::MAX, NODE),
            cancelled,
            judged,
            foreign,
        ] {
            let facts = vec![fact; 3_000];
            let parts = parts(&facts);
            assert!(parts.len() > 1);
            assert_eq!(parts.concat(), facts);
        }
        assert_eq!(parts(&[]), [[]]);
    }

    #[test]
    fn strangers_do_not_come_between_a_receipt_and_its_responses() {
        let stranger = Address([1; 20]);
        for before in 200..300 {
            let noise = |of: usize| {
                (0..of).map(|_| ChainFact::SubscriptionCancelled {
                    id: SubscriptionId(9),
                })
            };
            let mut facts: Vec<ChainFact> = noise(before).collect();
            facts.push(receipt(1));
            facts.extend((1..20).map(|id| fulfilled(id, NODE)));
            facts.extend([transfer(), fulfilled(20, stranger), creation()]);
            facts.extend(noise(2_000));
            facts.extend([receipt(2), fulfilled(21, NODE)]);
            let parts = parts(&facts);
            assert!(parts.len() > 1);
            let judges = parts.iter().filter(|part| part.contains(&receipt(1)));
            let part: Vec<_> = judges.flatten().cloned().collect();
            for own in (1..20)
                .chain([21])
                .map(|id| fulfilled(id, NODE))
                .chain([receipt(2)])
            {
                assert!(part.contains(&own), "{before} {own:?}");
            }
            // The responses come before the receipts, whichever part they are in.
            let first = |of: &dyn Fn(&ChainFact) -> bool| {
                let mut all = parts.iter().flatten();
                all.position(of).expect("it is there")
            };
            let receipts = first(&|fact| pass_of(fact, NODE) == Pass::Receipt);
            for id in (1..20).chain([21]) {
                assert!(first(&|fact| *fact == fulfilled(id, NODE)) < receipts);
            }
            // Nothing is lost, creations come first, and what is left keeps its order.
            let together = parts.concat();
            assert_eq!(together.len(), facts.len());
            assert_eq!(together[0], creation());
            let rest = |facts: &[ChainFact]| -> Vec<ChainFact> {
                let of_rest = |fact: &&ChainFact| pass_of(fact, NODE) == Pass::Rest;
                facts.iter().filter(of_rest).cloned().collect()
            };
            assert_eq!(rest(&together), rest(&facts));
        }
    }
}
