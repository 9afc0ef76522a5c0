//! What is remembered of commands that have ended.

use std::collections::VecDeque;

use agentkernel_protocol::{MAX_LAST_WORDS, Survivor};

/// The last words that were said most recently: the host may have been lost before it took them.
#[derive(Default)]
pub(super) struct LastWords {
    words: VecDeque<Survivor>,
}

impl LastWords {
    /// Remembers one, and forgets the oldest if there are too many.
    pub(super) fn remember(&mut self, word: Survivor) {
        if self.words.len() == MAX_LAST_WORDS {
            self.words.pop_front();
        }
        self.words.push_back(word);
    }

    /// The latest `count` of them.
    pub(super) fn latest(&self, count: usize) -> impl Iterator<Item = &Survivor> {
        self.words.range(self.words.len().saturating_sub(count)..)
    }
}
