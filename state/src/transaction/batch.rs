//! The deliveries of one transaction.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::types::DeliveryNo;

/// The deliveries of one transaction, in order. One is the rule, and takes no memory of its own:
/// what a nonce is for is copied with every step.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<DeliveryNo>")]
pub struct Batch(Few);

/// Equal deliveries are equal: `Other` never holds just one.
#[derive(Clone, PartialEq, Eq)]
enum Few {
    One(DeliveryNo),
    Other(Vec<DeliveryNo>),
}

impl Batch {
    /// The deliveries.
    #[must_use]
    pub fn as_slice(&self) -> &[DeliveryNo] {
        match &self.0 {
            Few::One(no) => core::slice::from_ref(no),
            Few::Other(list) => list,
        }
    }

    /// Leaves those that are to stay.
    pub(crate) fn retain(&mut self, stays: impl Fn(DeliveryNo) -> bool) {
        let list = self.as_slice().iter().copied();
        *self = Self::from(list.filter(|no| stays(*no)).collect::<Vec<_>>());
    }
}

impl From<DeliveryNo> for Batch {
    fn from(no: DeliveryNo) -> Self {
        Self(Few::One(no))
    }
}

impl From<Vec<DeliveryNo>> for Batch {
    fn from(list: Vec<DeliveryNo>) -> Self {
        match list.as_slice() {
            [no] => Self::from(*no),
            _ => Self(Few::Other(list)),
        }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_slice(), f)
    }
}

/// Written as the list that it is.
impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_slice().serialize(serializer)
    }
}
