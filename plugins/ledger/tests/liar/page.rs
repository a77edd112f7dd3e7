//! Pages that no ledger would make, in the format of those that ledgers make.

use carrick_core::{Block, Cid, DAG_CBOR};
use ipld_core::ipld::Ipld;

/// A page that is listed on another one: its name, how many entries it has, and the first of them with its clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    pub(crate) page: Cid,
    pub(crate) entries: u64,
    pub(crate) clock: u64,
    pub(crate) first: Cid,
}

/// A page of entries, each with its clock, in this order.
pub(crate) fn entries(entries: &[(u64, Cid)]) -> Block {
    let digests = entries.iter().flat_map(|(_, entry)| entry.hash().digest().to_vec()).collect();
    let before = [0].into_iter().chain(entries.iter().map(|(clock, _)| *clock));
    let rises = entries.iter().zip(before).map(|((clock, _), before)| number(clock.wrapping_sub(before)));
    page("entries", Ipld::List(vec![Ipld::Bytes(digests), Ipld::List(rises.collect())]))
}

/// A page of pages.
pub(crate) fn pages(level: u64, pages: &[Listed]) -> Block {
    let listed = |listed: &Listed| {
        let first = Ipld::Bytes(listed.first.hash().digest().to_vec());
        Ipld::List(vec![Ipld::Link(listed.page), number(listed.entries), number(listed.clock), first])
    };
    page("pages", Ipld::List(vec![number(level), Ipld::List(pages.iter().map(listed).collect())]))
}

/// A page of a later version.
pub(crate) fn of_tomorrow() -> Block {
    block(2, Ipld::String("unheard of".into()))
}

fn page(kind: &str, body: Ipld) -> Block {
    block(1, Ipld::Map([(kind.to_owned(), body)].into()))
}

fn block(version: u64, page: Ipld) -> Block {
    let wire = Ipld::Map([("v".to_owned(), number(version)), ("page".to_owned(), page)].into());
    Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&wire).expect("encodes"))
}

fn number(number: u64) -> Ipld {
    Ipld::Integer(number.into())
}
