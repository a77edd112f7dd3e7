//! Entries in their order, by rank.

use std::ops::Bound;

use crate::place::Place;

/// Places in one piece at most, and half of it at least but for the last: to insert moves few, and to find a rank adds up
/// one number a piece.
const PIECE: usize = 1_024;

/// Places in their order. 40 bytes each.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// None of them empty.
    pieces: Vec<Vec<Place>>,
    len: usize,
}

impl Order {
    /// Places in whatever order, none of them twice.
    pub(crate) fn of(mut places: Vec<Place>) -> Self {
        places.sort_unstable();
        Self { pieces: places.chunks(PIECE).map(<[Place]>::to_vec).collect(), len: places.len() }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Inserts a place; answers its rank, or `None` where it was there.
    pub(crate) fn insert(&mut self, place: Place) -> Option<usize> {
        let at = self.piece_of(&place);
        let Some(piece) = self.pieces.get_mut(at) else {
            self.pieces.push(vec![place]);
            self.len = 1;
            return Some(0);
        };
        let within = piece.binary_search(&place).err()?;
        piece.insert(within, place);
        if piece.len() > PIECE {
            // What comes last is what comes most often: it leaves the piece before it full.
            let cut = if within == PIECE { PIECE } else { PIECE / 2 };
            let rest = piece.split_off(cut);
            self.pieces.insert(at + 1, rest);
        }
        self.len += 1;
        let before: usize = self.pieces[..at].iter().map(Vec::len).sum();
        Some(before + within)
    }

    pub(crate) fn rank(&self, place: &Place) -> Option<usize> {
        let at = self.piece_of(place);
        let within = self.pieces.get(at)?.binary_search(place).ok()?;
        Some(self.pieces[..at].iter().map(Vec::len).sum::<usize>() + within)
    }

    /// The place of a rank.
    pub(crate) fn at(&self, mut rank: usize) -> Option<Place> {
        for piece in &self.pieces {
            match piece.get(rank) {
                Some(place) => return Some(*place),
                None => rank -= piece.len(),
            }
        }
        None
    }

    /// So many places from one on.
    pub(crate) fn from(&self, from: Bound<Place>, most: usize) -> Vec<Place> {
        let (Bound::Included(first) | Bound::Excluded(first)) = from else {
            return self.pieces.iter().flatten().take(most).copied().collect();
        };
        let at = self.piece_of(&first);
        let later = |place: &&Place| match from {
            Bound::Excluded(_) => **place > first,
            _ => **place >= first,
        };
        self.pieces.iter().skip(at).flatten().skip_while(|place| !later(place)).take(most).copied().collect()
    }

    /// The piece in which a place stands or would.
    fn piece_of(&self, place: &Place) -> usize {
        self.pieces
            .partition_point(|piece| piece.first().is_some_and(|first| first <= place))
            .saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::StdRng;
    use rand::seq::SliceRandom as _;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn place(clock: u64, first: u8) -> Place {
        let mut digest = [0; 32];
        digest[0] = first;
        Place::of(clock, digest)
    }

    /// Whatever comes when, it stands as in a set, and each answer is the set's.
    #[test]
    fn it_is_a_sorted_set_with_ranks() {
        for seed in 0..5 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut order, mut set) = (Order::default(), BTreeSet::new());
            for _ in 0..3_000 {
                let place = place(random.random_range(0..2_000), random.random());
                let rank = set.insert(place).then(|| set.range(..place).count());
                assert_eq!(order.insert(place), rank, "seed {seed}");
            }
            let all: Vec<Place> = set.iter().copied().collect();
            assert_eq!(order.from(Bound::Unbounded, usize::MAX), all, "seed {seed}");
            assert_eq!(order.len(), all.len());
            let mut shuffled = all.clone();
            shuffled.shuffle(&mut random);
            assert_eq!(Order::of(shuffled).from(Bound::Unbounded, usize::MAX), all, "seed {seed}");
            for _ in 0..200 {
                let rank = random.random_range(0..all.len());
                assert_eq!((order.at(rank), order.rank(&all[rank])), (Some(all[rank]), Some(rank)));
                assert_eq!(
                    order.from(Bound::Included(all[rank]), 3),
                    all[rank..].iter().take(3).copied().collect::<Vec<_>>()
                );
                let after: Vec<_> = all[rank..].iter().skip(1).take(3).copied().collect();
                assert_eq!(order.from(Bound::Excluded(all[rank]), 3), after);
            }
            assert_eq!(order.at(all.len()), None);
            assert_eq!(order.rank(&place(3_000, 0)), None);
        }
    }

    #[test]
    fn what_comes_in_order_fills_its_pieces() {
        let mut order = Order::default();
        for clock in 0..10 * PIECE as u64 {
            assert_eq!(order.insert(place(clock, 0)), Some(clock as usize));
        }
        assert_eq!(order.pieces.len(), 10);
    }
}
