//! A bounded queue to one reader that never blocks its writer: a slow reader is told how much it missed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What the reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fed<T> {
    Item(T),
    /// So many were dropped before what comes next.
    Lagged(u64),
}

/// The writer's end; the reader's is [`Reader`].
#[derive(Debug)]
pub(crate) struct Feed<T>(Arc<Mutex<State<T>>>);

/// The reader's end. Dropping it ends the feed.
#[derive(Debug)]
pub(crate) struct Reader<T>(Arc<Mutex<State<T>>>);

#[derive(Debug)]
struct State<T> {
    queue: VecDeque<(usize, T)>,
    bytes: usize,
    lagged: u64,
    max_items: usize,
    max_bytes: usize,
    /// Set when either end is gone.
    ended: bool,
    waker: Option<Waker>,
}

/// A feed that holds at most so many items and bytes; beyond them the oldest goes.
pub(crate) fn feed<T>(max_items: usize, max_bytes: usize) -> (Feed<T>, Reader<T>) {
    let state = State {
        queue: VecDeque::new(),
        bytes: 0,
        lagged: 0,
        max_items,
        max_bytes,
        ended: false,
        waker: None,
    };
    let shared = Arc::new(Mutex::new(state));
    (Feed(Arc::clone(&shared)), Reader(shared))
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Feed<T> {
    /// Adds an item of so many bytes; answers how many were dropped for it.
    pub(crate) fn push(&self, item: T, bytes: usize) -> u64 {
        let mut state = lock(&self.0);
        if state.ended {
            return 0;
        }
        let before = state.lagged;
        state.queue.push_back((bytes, item));
        state.bytes += bytes;
        while state.queue.len() > state.max_items || (state.bytes > state.max_bytes && state.queue.len() > 1)
        {
            if let Some((size, _)) = state.queue.pop_front() {
                state.bytes -= size;
                state.lagged += 1;
            }
        }
        let dropped = state.lagged - before;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        dropped
    }

    /// How many items wait, and how many bytes.
    pub(crate) fn held(&self) -> (usize, usize) {
        let state = lock(&self.0);
        (state.queue.len(), state.bytes)
    }

    /// Whether the reader is gone.
    pub(crate) fn ended(&self) -> bool {
        lock(&self.0).ended
    }
}

impl<T> Drop for Feed<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.ended = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl<T> Reader<T> {
    /// The next item; `None` once the writer is gone and everything was read.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Fed<T>>> {
        let mut state = lock(&self.0);
        if state.lagged > 0 {
            return Poll::Ready(Some(Fed::Lagged(std::mem::take(&mut state.lagged))));
        }
        if let Some((size, item)) = state.queue.pop_front() {
            state.bytes -= size;
            return Poll::Ready(Some(Fed::Item(item)));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.ended = true;
        state.queue.clear();
        state.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use std::future::poll_fn;

    fn next<T>(reader: &mut Reader<T>) -> Option<Option<Fed<T>>> {
        poll_fn(|cx| reader.poll_next(cx)).now_or_never()
    }

    #[test]
    fn a_slow_reader_is_told_how_much_it_missed() {
        let (feed, mut reader) = feed(2, 100);
        for item in 0..5 {
            feed.push(item, 1);
        }
        assert_eq!(next(&mut reader), Some(Some(Fed::Lagged(3))));
        assert_eq!(next(&mut reader), Some(Some(Fed::Item(3))));
        assert_eq!(next(&mut reader), Some(Some(Fed::Item(4))));
        assert_eq!(next(&mut reader), None);
        drop(feed);
        assert_eq!(next(&mut reader), Some(None));
    }

    #[test]
    fn bytes_are_bounded_too_but_one_item_always_fits() {
        let (feed, mut reader) = feed(10, 100);
        assert_eq!(feed.push('a', 60), 0);
        assert_eq!(feed.push('b', 60), 1);
        assert_eq!(feed.push('c', 600), 1);
        assert_eq!(next(&mut reader), Some(Some(Fed::Lagged(2))));
        assert_eq!(next(&mut reader), Some(Some(Fed::Item('c'))));
    }
}
