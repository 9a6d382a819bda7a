//! A Merkle tree over the events (RFC 6962, section 2.1), so that one event can be shown to be in
//! the log without showing the others.
//!
//! Leaf: SHA-256 of `0x00`, position (8, big-endian), kind (2), version (1), body. Node: SHA-256
//! of `0x01`, left, right. A tree of `n` leaves has the largest power of two below `n` on its
//! left. The tree of no leaves is SHA-256 of nothing.

use infernet_state::{
    codec::EncodedEvent,
    types::{Hash, Seq},
};
use sha2::{Digest, Sha256};

/// The hash of an event as a leaf.
#[must_use]
pub fn leaf(seq: Seq, event: &EncodedEvent) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(seq.0.to_be_bytes());
    hasher.update(event.kind.to_be_bytes());
    hasher.update([event.version]);
    hasher.update(&event.body);
    Hash(hasher.finalize().into())
}

/// The hash of a node over two subtrees.
fn node(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([1]);
    hasher.update(left.0);
    hasher.update(right.0);
    Hash(hasher.finalize().into())
}

/// The root of a growing tree, in memory of the logarithm of its size.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Accumulator {
    size: u64,
    /// Roots of complete subtrees, largest first: one for each bit of `size`.
    peaks: Vec<Hash>,
}

impl Accumulator {
    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut merged = leaf;
        let mut size = self.size;
        while size & 1 == 1
            && let Some(left) = self.peaks.pop()
        {
            merged = node(&left, &merged);
            size >>= 1;
        }
        self.peaks.push(merged);
        self.size += 1;
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else {
            return Hash(Sha256::digest([]).into());
        };
        peaks.fold(*last, |right, left| node(left, &right))
    }
}

/// The root of a tree.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    let mut accumulator = Accumulator::default();
    leaves.iter().for_each(|leaf| accumulator.push(*leaf));
    accumulator.root()
}

/// The audit path of a leaf, from the leaf's neighbour up; `None` when there is no such leaf.
#[must_use]
pub fn path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    let (mut leaves, mut index) = (leaves, index);
    while leaves.len() > 1 {
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        if index < left.len() {
            path.push(root(right));
            leaves = left;
        } else {
            path.push(root(left));
            index -= left.len();
            leaves = right;
        }
    }
    path.reverse();
    Some(path)
}

/// Whether a leaf is the one at `index` of a tree of `size` leaves with this root (RFC 9162,
/// section 2.1.3.2).
#[must_use]
pub fn verify(root: &Hash, leaf: &Hash, index: u64, size: u64, path: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            if at & 1 == 0 {
                while at & 1 == 0 && at != 0 {
                    at >>= 1;
                    last >>= 1;
                }
            }
        } else {
            hash = node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u64) -> Vec<Hash> {
        let event = |at: u64| EncodedEvent {
            kind: 1,
            version: 1,
            body: at.to_be_bytes().to_vec(),
        };
        (1..=count).map(|at| leaf(Seq(at), &event(at))).collect()
    }

    /// The definition of RFC 6962, word for word: what the accumulator must agree with.
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash(Sha256::digest([]).into()),
            [only] => *only,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node(&defined(left), &defined(right))
            }
        }
    }

    #[test]
    fn roots_are_those_of_the_definition() {
        let all = leaves(70);
        for size in 0..=all.len() {
            assert_eq!(root(&all[..size]), defined(&all[..size]), "{size} leaves");
        }
        let nothing = "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(root(&[]).to_string(), nothing);
    }

    #[test]
    fn a_path_proves_its_leaf_at_its_place_and_nothing_else() {
        let all = leaves(33);
        for size in 1..=all.len() {
            let tree = &all[..size];
            let top = root(tree);
            for (index, leaf) in tree.iter().enumerate() {
                let path = path(tree, index).unwrap();
                let (index, size) = (index as u64, size as u64);
                assert!(verify(&top, leaf, index, size, &path), "{index} of {size}");
                assert!(!verify(&top, &Hash([9; 32]), index, size, &path));
                assert!(!verify(&top, leaf, index + 1, size, &path));
                assert!(!verify(&Hash([9; 32]), leaf, index, size, &path));
                let mut longer = path.clone();
                longer.push(Hash::ZERO);
                assert!(!verify(&top, leaf, index, size, &longer));
                if !path.is_empty() {
                    assert!(!verify(&top, leaf, index, size, &path[1..]));
                }
            }
            assert_eq!(path(tree, size), None);
        }
    }
}
