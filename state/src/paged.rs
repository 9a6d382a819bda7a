//! A map from `u32` for values that are many, large and mostly consecutive: pages of sorted
//! entries, full pages without slack. An ordinary B-tree, filled in ascending order, would leave
//! nearly half of its memory unused.
//!
//! Pages stand in chapters, found by place instead of by search: a million values make sixteen
//! chapters, so that a look costs beside them what it costs alone.

use alloc::{collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap, ser::SerializeStruct};

/// Entries of one page share the id's upper bits; a page holds at most `2^PAGE_BITS`.
const PAGE_BITS: u32 = 6;

/// Pages of one chapter share the id's bits above these.
const CHAPTER_BITS: u32 = 16;

/// Pages of a chapter.
const CHAPTER_PAGES: u32 = 1 << (CHAPTER_BITS - PAGE_BITS);

/// Sorted entries.
type Page<T> = Vec<(u32, T)>;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(from = "Flat<T>")]
pub(crate) struct Paged<T> {
    /// Never an empty chapter, or one that ends with an empty page: equal contents are equal
    /// maps.
    chapters: BTreeMap<u32, Vec<Page<T>>>,
    len: usize,
}

/// How it is written: the pages that are not empty, by number.
#[derive(Deserialize)]
struct Flat<T> {
    pages: BTreeMap<u32, Page<T>>,
    len: usize,
}

impl<T> From<Flat<T>> for Paged<T> {
    fn from(flat: Flat<T>) -> Self {
        let mut paged = Self::default();
        for page in flat.pages.into_values() {
            let id = page.first().map(|(id, _)| *id);
            if let Some(place) = id.and_then(|id| paged.page_mut(id)) {
                *place = page;
            }
        }
        paged.len = flat.len;
        paged
    }
}

/// The pages of a map, as [`Flat`] reads them.
struct Pages<'a, T>(&'a Paged<T>);

impl<T: Serialize> Serialize for Pages<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pages = || self.0.pages_from(0);
        let mut map = serializer.serialize_map(Some(pages().count()))?;
        for page in pages() {
            let number = page.first().map_or(0, |(id, _)| upper(*id, PAGE_BITS));
            map.serialize_entry(&number, page)?;
        }
        map.end()
    }
}

impl<T: Serialize> Serialize for Paged<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Paged", 2)?;
        fields.serialize_field("pages", &Pages(self))?;
        fields.serialize_field("len", &self.len)?;
        fields.end()
    }
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self {
            chapters: BTreeMap::new(),
            len: 0,
        }
    }
}

/// An id without its lower bits.
fn upper(id: u32, bits: u32) -> u32 {
    id.checked_shr(bits).unwrap_or_default()
}

/// The chapter of an id, and the place of its page in it.
fn place_of(id: u32) -> (u32, usize) {
    let place = upper(id, PAGE_BITS) & CHAPTER_PAGES.saturating_sub(1);
    (
        upper(id, CHAPTER_BITS),
        usize::try_from(place).unwrap_or_default(),
    )
}

/// Where an id stands in its page, or would. Pages mostly have no gaps: what their first id says
/// is looked at before anything is searched, since each step of a search is another line of
/// memory.
fn find<T>(page: &Page<T>, id: u32) -> Result<usize, usize> {
    let passed = page.first().map(|(first, _)| id.wrapping_sub(*first));
    let place = usize::try_from(passed.unwrap_or_default()).unwrap_or_default();
    if page.get(place).is_some_and(|(key, _)| *key == id) {
        return Ok(place);
    }
    page.binary_search_by_key(&id, |(key, _)| *key)
}

impl<T> Paged<T> {
    /// Entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The value of `id`.
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        let (chapter, place) = place_of(id);
        let page = self.chapters.get(&chapter)?.get(place)?;
        let place = find(page, id).ok()?;
        page.get(place).map(|(_, value)| value)
    }

    /// The value of `id`, to change.
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let (chapter, place) = place_of(id);
        let page = self.chapters.get_mut(&chapter)?.get_mut(place)?;
        let place = find(page, id).ok()?;
        page.get_mut(place).map(|(_, value)| value)
    }

    /// Puts a value and gives back the one it replaces.
    pub(crate) fn insert(&mut self, id: u32, value: T) -> Option<T> {
        let page = self.page_mut(id)?;
        match find(page, id) {
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
        let (number, place) = place_of(id);
        let chapter = self.chapters.get_mut(&number)?;
        let page = chapter.get_mut(place)?;
        let place = find(page, id).ok()?;
        let (_, value) = page.remove(place);
        if page.len().saturating_mul(4) < page.capacity() {
            page.shrink_to_fit();
        }
        while chapter.last().is_some_and(Vec::is_empty) {
            chapter.pop();
        }
        if chapter.is_empty() {
            self.chapters.remove(&number);
        }
        self.len = self.len.saturating_sub(1);
        Some(value)
    }

    /// The entries from `id` on, ascending.
    pub(crate) fn range_from(&self, id: u32) -> impl Iterator<Item = (u32, &T)> {
        self.pages_from(id)
            .flatten()
            .filter(move |(key, _)| *key >= id)
            .map(|(key, value)| (*key, value))
    }

    /// The pages from that of `id` on that are not empty, ascending.
    fn pages_from(&self, id: u32) -> impl Iterator<Item = &Page<T>> {
        let (first, place) = place_of(id);
        self.chapters
            .range(first..)
            .flat_map(move |(chapter, pages)| {
                pages.iter().skip(if *chapter == first { place } else { 0 })
            })
            .filter(|page| !page.is_empty())
    }

    /// The page of an id, made where there is none; there is always one.
    fn page_mut(&mut self, id: u32) -> Option<&mut Page<T>> {
        let (chapter, place) = place_of(id);
        let pages = self.chapters.entry(chapter).or_default();
        if pages.len() <= place {
            pages.resize_with(place.saturating_add(1), Vec::new);
        }
        pages.get_mut(place)
    }
}
