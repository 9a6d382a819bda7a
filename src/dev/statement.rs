//! The ledger as people read it: before, after, and what has changed, to the wei.

use std::collections::BTreeMap;

use alloy::primitives::I256;
use infernet_state::{
    Machine,
    ledger::{Balance, Role},
    types::Address,
};

use super::{PROTOCOL_FEE, story::ether};

/// The balances of the native coin at one moment; debits are positive, credits negative.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Statement(BTreeMap<Role, I256>);

impl Statement {
    /// What the machine's books say now.
    #[must_use]
    pub fn of(machine: &Machine) -> Self {
        let accounts = machine.ledger().accounts();
        let native = accounts.filter(|(account, _)| account.token == Address::ZERO);
        Self(
            native
                .filter_map(|(account, totals)| Some((account.role, signed(totals.balance())?)))
                .collect(),
        )
    }

    fn of_role(&self, role: Role) -> I256 {
        self.0.get(&role).copied().unwrap_or_default()
    }

    /// A table of this and a later statement, and in a last line what happened between them.
    #[must_use]
    pub fn compared(&self, after: &Self) -> Vec<String> {
        let change = |role| after.of_role(role).wrapping_sub(self.of_role(role));
        let row = |name: &str, cells: [String; 3]| {
            let [before, after, change] = cells;
            format!("  {name:<24} {before:>26} {after:>26} {change:>22}")
        };
        let mut sums = [I256::ZERO; 3];
        let mut lines = vec![row(
            "",
            ["before", "after", "change"].map(|title| title.to_owned()),
        )];
        for role in after.0.keys() {
            let cells = [self.of_role(*role), after.of_role(*role), change(*role)];
            if cells.iter().all(I256::is_zero) {
                continue;
            }
            for (sum, cell) in sums.iter_mut().zip(cells) {
                *sum = sum.wrapping_add(cell);
            }
            lines.push(row(name(*role), cells.map(|cell| cell.to_string())));
        }
        lines.push(row("sum", sums.map(|sum| sum.to_string())));
        let coins = |wei: I256| ether(wei.unsigned_abs());
        lines.push(format!(
            "of the price of {} the node got {} and the protocol {} ({}% from each side); gas \
             cost the node {}",
            coins(change(Role::Earnings)),
            coins(change(Role::NodeWallet)),
            coins(change(Role::ProtocolFees)),
            PROTOCOL_FEE / 100,
            coins(change(Role::Gas)),
        ));
        lines
    }
}

/// `None` where a sum is beyond what an amount can be, which no native coin brings about.
fn signed(balance: Balance) -> Option<I256> {
    Some(match balance {
        Balance::Debit(sum) => I256::from_raw(sum.amount()?.0),
        Balance::Credit(sum) => I256::from_raw(sum.amount()?.0).wrapping_neg(),
    })
}

/// An account in words.
fn name(role: Role) -> &'static str {
    match role {
        Role::NodeAccount => "node's account (gas)",
        Role::NodeWallet => "node's wallet (payments)",
        Role::Receivable => "not yet explained",
        Role::Escrow => "escrowed for the node",
        Role::Stake => "the node's stake",
        Role::Earnings => "earned",
        Role::ProtocolFees => "protocol's fees",
        Role::VerifierFees => "verifiers' fees",
        Role::Slashes => "slashed",
        Role::Gas => "gas",
        Role::DataFees => "data fees of a rollup",
        Role::Suspense => "brought in",
        Role::Owner => "taken out",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paid_answer_is_told_to_the_wei_and_sums_to_nothing() {
        let books = |entries: &[(Role, i64)]| {
            let books = entries.iter().map(|(role, wei)| {
                let wei = I256::try_from(*wei).expect("small");
                (*role, wei)
            });
            Statement(books.collect())
        };
        let before = books(&[(Role::NodeAccount, 700), (Role::Suspense, -700)]);
        let after = books(&[
            (Role::NodeAccount, 697),
            (Role::NodeWallet, 90),
            (Role::Earnings, -100),
            (Role::ProtocolFees, 10),
            (Role::Gas, 3),
            (Role::Suspense, -700),
        ]);
        let lines = before.compared(&after);
        let cells: Vec<Vec<&str>> = lines
            .iter()
            .map(|line| line.split_whitespace().rev().take(3).collect())
            .collect();
        assert_eq!(cells[1], ["-3", "697", "700"], "{lines:#?}");
        assert_eq!(cells[3], ["-100", "-100", "0"], "{lines:#?}");
        assert_eq!(cells[7], ["0", "0", "0"], "{lines:#?}");
        assert!(
            lines[8].contains("the price of 0.0000000000000001 ETH"),
            "{lines:#?}"
        );
    }
}
