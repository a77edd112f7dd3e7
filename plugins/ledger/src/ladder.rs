//! States of a fold at ranks further and further back.

use carrick_core::Cid;

/// After which entries a state stands: all up to this one, so many in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Point {
    /// `None`: before the first.
    pub(crate) last: Option<Cid>,
    pub(crate) entries: usize,
}

impl Point {
    /// The next one, which ends with this entry.
    pub(crate) fn and(self, entry: &Cid) -> Self {
        Self { last: Some(*entry), entries: self.entries + 1 }
    }
}

/// Some states to go back to, closer to each other the closer they are to the end: who must go back `n` entries goes back less
/// than 3 `n`. Of a million entries it holds 21 states, of as many as memory can address 64.
#[derive(Debug)]
pub(crate) struct Ladder<S>(Vec<(Point, S)>);

impl<S: Clone> Ladder<S> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Takes a state if it is of use once there are so many entries in all. They come in their order.
    pub(crate) fn offer(&mut self, point: Point, state: &S, of: usize) {
        if stays(point.entries, of) {
            self.push(point, state.clone());
        }
    }

    /// Takes a state that stands behind all others, whether it is of use or not.
    pub(crate) fn push(&mut self, point: Point, state: S) {
        self.0.push((point, state));
    }

    /// Lets go of what is of no use any more, now that there are so many.
    pub(crate) fn thin(&mut self, of: usize) {
        self.0.retain(|(point, _)| stays(point.entries, of));
    }

    /// The last of them.
    pub(crate) fn last(&self) -> Option<&(Point, S)> {
        self.0.last()
    }

    pub(crate) fn drop_last(&mut self) {
        self.0.pop();
    }
}

/// Whether a state after this many entries is of use where there are `of`. Of those that 2^n divides and 2^(n+1) does not,
/// only the last is, with at most 2^(n+1) entries behind it.
pub(crate) fn stays(entries: usize, of: usize) -> bool {
    let reach = 2_usize.checked_shl(entries.trailing_zeros()).filter(|reach| *reach > 0);
    entries > 0 && reach.is_none_or(|reach| of.saturating_sub(entries) < reach)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_goes_back_much_further_than_needed_and_few_states_are_held() {
        let mut ladder = Ladder::new();
        for of in 1..5_000 {
            ladder.offer(Point { last: None, entries: of }, &(), of);
            ladder.thin(of);
            let kept: Vec<usize> = ladder.0.iter().map(|(point, ())| point.entries).collect();
            assert!(kept.len() <= 2 + of.ilog2() as usize, "{kept:?} of {of}");
            assert_eq!(kept.last(), Some(&of));
            for back in 1..=of {
                let to = kept.iter().rev().find(|entries| **entries <= of - back).unwrap_or(&0);
                assert!(of - to < 3 * back, "{to} is used to go back {back} of {of}");
            }
        }
    }
}
