//! A block's facts as events that fit the log.

use infernet_state::{Event, codec::EVENT_BYTES_MAX, event::ChainFact, types::BlockRef};

/// The facts of one event take at most this many bytes, so that with its head it stays below
/// the largest event. A block with more is recorded as several events in one atomic step.
const FACTS_BYTES_MAX: usize = EVENT_BYTES_MAX - 1024;

/// The most that one fact takes: a creation's two words, six addresses and small numbers, or a
/// wallet's event, encoded.
const FACT_BYTES_MAX: usize = 256;

/// The events of a block: one, or where its facts do not fit one, several, which the machine
/// takes as one block when they follow each other.
pub(super) fn in_parts(block: BlockRef, facts: Vec<ChainFact>) -> Vec<Event> {
    const FACTS_MAX: usize = FACTS_BYTES_MAX / FACT_BYTES_MAX;
    let mut rest = facts;
    let mut events = Vec::new();
    while rest.len() > FACTS_MAX {
        let later = rest.split_off(FACTS_MAX);
        let facts = std::mem::replace(&mut rest, later);
        events.push(Event::ChainCommitted { block, facts });
    }
    events.push(Event::ChainCommitted { block, facts: rest });
    events
}

#[cfg(test)]
mod tests {
    use infernet_state::{
        codec,
        event::{Subscription, WalletChange, WalletFact},
        types::{Address, Amount, BlockTime, Hash, SubscriptionId},
    };

    use super::*;

    #[test]
    fn a_crowded_block_fits_its_events() {
        let creation = ChainFact::SubscriptionCreated {
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
        };
        let transfer = ChainFact::Wallet(WalletFact {
            wallet: Address([255; 20]),
            owner: Address([255; 20]),
            tx: Hash([255; 32]),
            change: WalletChange::Transferred {
                spender: Address([255; 20]),
                token: Address([255; 20]),
                to: Address([255; 20]),
                amount: Amount::MAX,
            },
        });
        let block = BlockRef {
            number: u64::MAX,
            hash: Hash([255; 32]),
            time: BlockTime(u64::MAX),
        };
        for fact in [creation, transfer] {
            let facts = vec![fact; 1_000];
            let events = in_parts(block, facts.clone());
            let mut together = Vec::new();
            for event in &events {
                codec::encode(event).expect("it fits");
                match event {
                    Event::ChainCommitted { facts, .. } => together.extend(facts.clone()),
                    other => panic!("{other:?}"),
                }
            }
            assert!(events.len() > 1);
            assert_eq!(together, facts);
        }
        assert_eq!(in_parts(block, Vec::new()).len(), 1);
    }
}
