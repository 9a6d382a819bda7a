//! A map from `u32` for values that are many, large and mostly consecutive: pages of sorted
//! entries, full pages without slack. An ordinary B-tree, filled in ascending order, would leave
//! nearly half of its memory unused.

use alloc::{collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Serialize};

/// Entries of one page share the id's upper bits; a page holds at most `2^PAGE_BITS`.
const PAGE_BITS: u32 = 6;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Paged<T> {
    /// Never an empty page: equal contents are equal maps.
    pages: BTreeMap<u32, Vec<(u32, T)>>,
    len: usize,
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self {
            pages: BTreeMap::new(),
            len: 0,
        }
    }
}

/// The page of an id.
fn page_of(id: u32) -> u32 {
    id.checked_shr(PAGE_BITS).unwrap_or_default()
}

impl<T> Paged<T> {
    /// Entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The value of `id`.
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        let page = self.pages.get(&page_of(id))?;
        let place = page.binary_search_by_key(&id, |(key, _)| *key).ok()?;
        page.get(place).map(|(_, value)| value)
    }

    /// The value of `id`, to change.
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let page = self.pages.get_mut(&page_of(id))?;
        let place = page.binary_search_by_key(&id, |(key, _)| *key).ok()?;
        page.get_mut(place).map(|(_, value)| value)
    }

    /// Puts a value and gives back the one it replaces.
    pub(crate) fn insert(&mut self, id: u32, value: T) -> Option<T> {
        let page = self.pages.entry(page_of(id)).or_default();
        match page.binary_search_by_key(&id, |(key, _)| *key) {
            Ok(place) => page
                .get_mut(place)
                .map(|(_, present)| core::mem::replace(present, value)),
            Err(place) => {
                page.insert(place, (id, value));
                self.len = self.len.saturating_add(1);
                None
            }
        }
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, id: u32) -> Option<T> {
        let number = page_of(id);
        let page = self.pages.get_mut(&number)?;
        let place = page.binary_search_by_key(&id, |(key, _)| *key).ok()?;
        let (_, value) = page.remove(place);
        if page.is_empty() {
            self.pages.remove(&number);
        } else if page.len().saturating_mul(4) < page.capacity() {
            page.shrink_to_fit();
        }
        self.len = self.len.saturating_sub(1);
        Some(value)
    }

    /// The entries from `id` on, ascending.
    pub(crate) fn range_from(&self, id: u32) -> impl Iterator<Item = (u32, &T)> {
        self.pages
            .range(page_of(id)..)
            .flat_map(|(_, page)| page.iter())
            .filter(move |(key, _)| *key >= id)
            .map(|(key, value)| (*key, value))
    }
}
