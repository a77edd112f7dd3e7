//! How much is judged at once, counted by the validator itself: what bounds it has no part in that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carrick::{Context, Message, MessageId, Path, Remote};

/// What a validator is asked, in one life of its node.
#[derive(Debug, Default)]
pub(crate) struct Judging(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    asked: BTreeSet<MessageId>,
    now: BTreeMap<Option<Remote>, usize>,
    /// At once, of all links and of one.
    most: (usize, usize),
}

/// A message that is judged now.
pub(crate) struct Judged(Arc<Judging>, Option<Remote>);

impl Judging {
    /// Counts a message for as long as the answer lives. One that comes again waited in the waiting room, and one's own takes
    /// no room: `None`.
    pub(crate) fn begin(self: &Arc<Self>, cx: &Context<'_>, message: &Message) -> Option<Judged> {
        let mut state = self.lock();
        if cx.path == Path::Own || !state.asked.insert(*message.id()) {
            return None;
        }
        let from = cx.from.cloned();
        let of_link = state.now.entry(from.clone()).or_default();
        *of_link += 1;
        let (of_link, of_all) = (*of_link, state.now.values().sum());
        state.most = (state.most.0.max(of_all), state.most.1.max(of_link));
        Some(Judged(Arc::clone(self), from))
    }

    /// The most there were at once: of all links, and of one.
    pub(crate) fn most(&self) -> (usize, usize) {
        self.lock().most
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Judged {
    fn drop(&mut self) {
        if let Some(now) = self.0.lock().now.get_mut(&self.1) {
            *now -= 1;
        }
    }
}
