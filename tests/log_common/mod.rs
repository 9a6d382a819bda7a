//! What the tests of the log share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::{fs, path::Path};

use infernet_node::log::{Options, Payload, Record};
use infernet_state::{
    codec::EncodedEvent,
    types::{Hash, PayloadRef},
};
use sha2::{Digest, Sha256};

/// A small deterministic generator: the tests need variety, not quality.
pub struct Lcg(pub u64);

impl Lcg {
    /// The next 64 bits (SplitMix64).
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// Random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(len);
        out
    }
}

/// An event whose body is of random bytes: the log does not look into it.
pub fn event(rng: &mut Lcg, len: usize) -> EncodedEvent {
    EncodedEvent {
        kind: u16::try_from(rng.below(40)).unwrap(),
        version: 1,
        body: rng.bytes(len),
    }
}

/// A record of an event of at most `len` bytes, without payloads.
pub fn record(rng: &mut Lcg, len: usize) -> Record {
    let len = rng.below(len + 1);
    Record {
        event: event(rng, len),
        payloads: Vec::new(),
    }
}

/// A payload of random bytes.
pub fn payload(rng: &mut Lcg, len: usize) -> Payload {
    let bytes = rng.bytes(len);
    Payload {
        reference: PayloadRef {
            hash: Hash(Sha256::digest(&bytes).into()),
            len: u32::try_from(len).unwrap(),
        },
        bytes,
    }
}

/// Options for a small log of one identity.
pub fn options() -> Options {
    Options {
        free_floor_bytes: 0,
        cache_bytes: 8 * 1024 * 1024,
        ..Options::new("chain 1")
    }
}

/// A copy of a data directory.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
