//! The headers that the watcher keeps to find where a reorg began.

use std::collections::VecDeque;

use infernet_state::types::BlockRef;

/// Headers kept. Reorgs beyond this depth find their ancestor among the recorded blocks, which
/// are sparse, and undo a little more than they must.
pub(super) const WINDOW_BLOCKS_MAX: usize = 256;

/// The newest followed blocks, ascending and without a gap.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    blocks: VecDeque<BlockRef>,
}

impl Window {
    /// The newest followed block.
    pub(super) fn tip(&self) -> Option<BlockRef> {
        self.blocks.back().copied()
    }

    /// Follows a block: the child of the tip, or the start of a new window.
    pub(super) fn push(&mut self, block: BlockRef) {
        let follows = self.tip().is_none_or(|tip| tip.number + 1 == block.number);
        if !follows {
            self.blocks.clear();
        }
        self.blocks.push_back(block);
        if self.blocks.len() > WINDOW_BLOCKS_MAX {
            self.blocks.pop_front();
        }
    }

    /// Goes back to an ancestor, which becomes the tip.
    pub(super) fn rewind(&mut self, ancestor: BlockRef) {
        while self.tip().is_some_and(|tip| tip.number > ancestor.number) {
            self.blocks.pop_back();
        }
        if self.tip() != Some(ancestor) {
            self.blocks.clear();
            self.blocks.push_back(ancestor);
        }
    }

    /// The followed blocks, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = BlockRef> + '_ {
        self.blocks.iter().rev().copied()
    }
}

#[cfg(test)]
mod tests {
    use infernet_state::types::{BlockTime, Hash};

    use super::*;

    fn block(number: u64, fork: u8) -> BlockRef {
        BlockRef {
            number,
            hash: Hash([fork; 32]),
            time: BlockTime(number),
        }
    }

    #[test]
    fn a_window_is_contiguous_bounded_and_goes_back() {
        let mut window = Window::default();
        for number in 0..300 {
            window.push(block(number, 1));
        }
        let numbers: Vec<u64> = window.newest_first().map(|b| b.number).collect();
        assert_eq!(numbers, (44..300).rev().collect::<Vec<_>>());

        window.rewind(block(290, 1));
        assert_eq!(window.tip(), Some(block(290, 1)));
        assert_eq!(window.newest_first().count(), 247);

        // An ancestor outside the window, or of another fork, starts a new one.
        window.rewind(block(7, 2));
        assert_eq!(window.newest_first().collect::<Vec<_>>(), [block(7, 2)]);
        window.push(block(20, 2));
        assert_eq!(window.newest_first().collect::<Vec<_>>(), [block(20, 2)]);
    }
}
