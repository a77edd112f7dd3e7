//! What each author said last.

use std::collections::BTreeMap;
use std::sync::Arc;

use carrick_core::{Cid, PeerId};

use crate::{Entry, Fold};

/// Folds to the entry with the highest number of each author.
#[derive(Debug)]
pub(crate) struct Latest;

/// Authors by the last byte of their ids: a clone shares all of these maps, and a change copies one.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByAuthor(BTreeMap<u8, Arc<Part>>);

/// What some authors said last: its number and its name.
type Part = BTreeMap<PeerId, (u64, Cid)>;

impl ByAuthor {
    pub(crate) fn of(&self, author: &PeerId) -> Option<&Cid> {
        self.0.get(&slot(author))?.get(author).map(|(_, cid)| cid)
    }
}

impl Fold for Latest {
    type State = ByAuthor;

    fn start(&self) -> ByAuthor {
        ByAuthor::default()
    }

    fn apply(&self, latest: &mut ByAuthor, entry: &Entry) {
        let (author, number) = (entry.author(), entry.number());
        let authors = latest.0.entry(slot(author)).or_default();
        if authors.get(author).is_none_or(|(highest, _)| *highest <= number) {
            Arc::make_mut(authors).insert(*author, (number, *entry.cid()));
        }
    }
}

fn slot(author: &PeerId) -> u8 {
    author.to_bytes().last().copied().unwrap_or_default()
}
