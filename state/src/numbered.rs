//! A map for what the machine numbers itself: jobs, deliveries, entries of the books. Numbers are
//! given out ascending and taken back mostly in the same order, so a value is found by its place,
//! where a B-tree searches, and would leave nearly half of its memory unused.
//!
//! Places stand in pages and pages in chapters. A chapter without values costs nothing, so that
//! one old job holds no room of the millions after it.

use alloc::{collections::BTreeMap, vec::Vec};
use core::marker::PhantomData;

use serde::{Deserialize, Serialize, Serializer};

use crate::types::{DeliveryNo, EntryNo, JobNo};

/// Numbers of one page share the bits above these.
const PAGE_BITS: u32 = 4;

/// Numbers of one chapter share the bits above these.
const CHAPTER_BITS: u32 = 10;

/// A number that the machine gives out.
pub(crate) trait Number: Copy + Ord {
    fn number(self) -> u64;
    fn of(number: u64) -> Self;
}

macro_rules! numbers {
    ($($name:ident),+) => {
        $(impl Number for $name {
            fn number(self) -> u64 {
                self.0
            }

            fn of(number: u64) -> Self {
                Self(number)
            }
        })+
    };
}

numbers!(JobNo, DeliveryNo, EntryNo);

/// Values by place; never one that ends with an empty place.
type Page<V> = Vec<Option<V>>;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(
    from = "BTreeMap<K, V>",
    bound(deserialize = "K: Number + Deserialize<'de>, V: Deserialize<'de>")
)]
pub(crate) struct Numbered<K, V> {
    /// Never an empty chapter, or one that ends with an empty page: equal contents are equal
    /// maps.
    chapters: BTreeMap<u64, Vec<Page<V>>>,
    len: usize,
    key: PhantomData<K>,
}

impl<K, V> Default for Numbered<K, V> {
    fn default() -> Self {
        Self {
            chapters: BTreeMap::new(),
            len: 0,
            key: PhantomData,
        }
    }
}

impl<K: Number, V> From<BTreeMap<K, V>> for Numbered<K, V> {
    fn from(map: BTreeMap<K, V>) -> Self {
        let mut numbered = Self::default();
        for (no, value) in map {
            numbered.insert(no, value);
        }
        numbered
    }
}

/// Written as the map that it is.
impl<K: Number + Serialize, V: Serialize> Serialize for Numbered<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(self.len))?;
        for (no, value) in self.iter() {
            map.serialize_entry(&no, value)?;
        }
        map.end()
    }
}

/// A number without its lower bits.
fn upper(number: u64, bits: u32) -> u64 {
    number.checked_shr(bits).unwrap_or_default()
}

/// The lower bits of a number, as a place.
fn lower(number: u64, bits: u32) -> usize {
    let mask = 1_u64
        .checked_shl(bits)
        .unwrap_or_default()
        .saturating_sub(1);
    usize::try_from(number & mask).unwrap_or_default()
}

/// The chapter of a number, its page's place in it, and its own in that.
fn place_of(number: u64) -> (u64, usize, usize) {
    let page = lower(
        upper(number, PAGE_BITS),
        CHAPTER_BITS.saturating_sub(PAGE_BITS),
    );
    (upper(number, CHAPTER_BITS), page, lower(number, PAGE_BITS))
}

/// The number at a place.
fn number_at(chapter: u64, page: usize, place: usize) -> u64 {
    let wide = |place: usize| u64::try_from(place).unwrap_or_default();
    (chapter << CHAPTER_BITS) | (wide(page) << PAGE_BITS) | wide(place)
}

impl<K: Number, V> Numbered<K, V> {
    /// The value of a number.
    pub(crate) fn get(&self, no: K) -> Option<&V> {
        let (chapter, page, place) = place_of(no.number());
        let page = self.chapters.get(&chapter)?.get(page)?;
        page.get(place)?.as_ref()
    }

    /// The value of a number, to change.
    pub(crate) fn get_mut(&mut self, no: K) -> Option<&mut V> {
        let (chapter, page, place) = place_of(no.number());
        let page = self.chapters.get_mut(&chapter)?.get_mut(page)?;
        page.get_mut(place)?.as_mut()
    }

    /// Puts a value in the place of what was there.
    pub(crate) fn insert(&mut self, no: K, value: V) {
        let (chapter, page, place) = place_of(no.number());
        let pages = self.chapters.entry(chapter).or_default();
        if pages.len() <= page {
            pages.resize_with(page.saturating_add(1), Vec::new);
        }
        let Some(page) = pages.get_mut(page) else {
            return; // It was just made.
        };
        if page.capacity() <= place {
            let full = lower(u64::MAX, PAGE_BITS).saturating_add(1);
            page.reserve_exact(full.saturating_sub(page.len()));
        }
        if page.len() == place {
            page.push(Some(value)); // The rule: the next number.
            self.len = self.len.saturating_add(1);
            return;
        }
        if page.len() < place {
            page.resize_with(place.saturating_add(1), || None);
        }
        if let Some(room) = page.get_mut(place)
            && room.replace(value).is_none()
        {
            self.len = self.len.saturating_add(1);
        }
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, no: K) -> Option<V> {
        let (number, page, place) = place_of(no.number());
        let chapter = self.chapters.get_mut(&number)?;
        let page = chapter.get_mut(page)?;
        let value = page.get_mut(place)?.take()?;
        self.len = self.len.saturating_sub(1);
        while page.last().is_some_and(Option::is_none) {
            page.pop();
        }
        if page.is_empty() {
            *page = Vec::new();
            while chapter.last().is_some_and(Vec::is_empty) {
                chapter.pop();
            }
            if chapter.is_empty() {
                self.chapters.remove(&number);
            }
        }
        Some(value)
    }

    /// All, ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (K, &V)> {
        self.range_from(K::of(0))
    }

    /// All values, ascending by number.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// All from a number on, ascending.
    pub(crate) fn range_from(&self, no: K) -> impl DoubleEndedIterator<Item = (K, &V)> {
        let (first, from, _) = place_of(no.number());
        let pages = self
            .chapters
            .range(first..)
            .flat_map(move |(chapter, pages)| {
                let skipped = if *chapter == first { from } else { 0 };
                pages
                    .iter()
                    .enumerate()
                    .skip(skipped)
                    .map(move |(page, places)| (*chapter, page, places))
            });
        pages
            .flat_map(|(chapter, page, places)| {
                places.iter().enumerate().filter_map(move |(place, value)| {
                    let no = K::of(number_at(chapter, page, place));
                    value.as_ref().map(|value| (no, value))
                })
            })
            .filter(move |(of, _)| *of >= no)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeMap, vec::Vec};

    use bincode::serde::{decode_from_slice, encode_to_vec};
    use proptest::prelude::*;

    use super::Numbered;
    use crate::{digest::CANONICAL, types::EntryNo};

    /// Numbers within a few pages, at the edge of a chapter, and far away.
    fn number() -> impl Strategy<Value = EntryNo> {
        prop_oneof![0..80_u64, 1_000..1_050_u64, (u64::MAX - 40)..=u64::MAX].prop_map(EntryNo)
    }

    proptest! {
        /// It is the map that it replaces: in what it finds, in its order, in its bytes; and what
        /// was taken out leaves no trace.
        #[test]
        fn is_a_map(steps in prop::collection::vec((number(), prop::option::of(any::<u32>())), 0..200)) {
            let mut numbered = Numbered::default();
            let mut map = BTreeMap::new();
            for (no, value) in steps {
                match value {
                    Some(value) => {
                        numbered.insert(no, value);
                        map.insert(no, value);
                    }
                    None => prop_assert_eq!(numbered.remove(no), map.remove(&no)),
                }
                prop_assert_eq!(numbered.get(no), map.get(&no));
                prop_assert_eq!(numbered.get_mut(no), map.get_mut(&no));
                let rest: Vec<_> = map.range(no..).map(|(no, value)| (*no, value)).collect();
                prop_assert_eq!(numbered.range_from(no).collect::<Vec<_>>(), rest);
            }
            prop_assert!(numbered.iter().rev().eq(map.iter().rev().map(|(no, value)| (*no, value))));
            prop_assert_eq!(&numbered, &Numbered::from(map.clone()));
            let bytes = encode_to_vec(&numbered, CANONICAL).ok();
            prop_assert_eq!(&bytes, &encode_to_vec(&map, CANONICAL).ok());
            let read = decode_from_slice(&bytes.unwrap_or_default(), CANONICAL).ok();
            prop_assert_eq!(Some(numbered), read.map(|(numbered, _)| numbered));
        }
    }
}
