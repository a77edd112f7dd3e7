//! Routing: who has which content, and where peers are.
//!
//! Kademlia tables, spoken by the library: one among the nodes of this network (`private`), Kubo's of the LAN (`lan`), the
//! public one beside it (`ipfs`), or none. What the library leaves to others is here: which addresses are told and taken, a
//! record store in which strangers cannot do harm, roots that are announced evenly and again after a restart, and where peers
//! were met.
//!
//! [`open`] gives two ends. The [`Behaviour`] is a part of the swarm's: it answers what identify told by
//! [`identified`](Behaviour::identified) and needs nothing else, neither ticks nor events. The [`Finder`] is the handle for
//! everybody else. Nothing in the swarm's task waits; what must survive a restart is written by a task of its own.
//!
//! Bounds: [`WAITING`](finder::WAITING) lookups wait, and 64 lookups and announcements are under way, of which the last 16 are
//! lookups; at most 32 announcements that nobody waits for; [`MAX_ROOTS`] roots; [`book::MAX`] peers remembered; records of
//! strangers as [`Bounds`](records::Bounds) says.

mod behaviour;
mod book;
mod config;
mod dht;
mod entries;
mod finder;
mod found;
mod jobs;
mod own;
mod questions;
mod records;
mod remotes;
mod roots;
mod saver;
mod schedule;
mod search;
mod tables;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;

use carrick_core::{Host, Result};
use futures::StreamExt as _;
use tokio::time::{MissedTickBehavior, interval};

pub(crate) use self::behaviour::Behaviour;
#[cfg(feature = "fuzzing")]
pub(crate) use self::book::{is_known, known};
pub use self::config::{DhtMode, Routing};
pub(crate) use self::config::{REPROVIDE_S, Settings, check_reprovide};
pub(crate) use self::finder::Finder;
use self::records::Restored;
#[cfg(feature = "fuzzing")]
pub(crate) use self::records::{is_page, page};
use self::roots::Roots;
use self::saver::Saver;

/// Where records of strangers are saved: behind it the name of the table, the provider and the number of a page. By its name it
/// is written after what is this node's own.
const RECORDS: &str = "stranger/";

/// Most roots that one node announces.
pub(crate) const MAX_ROOTS: usize = 1 << 18;

/// Sets routing up, and takes back what an earlier life saved: the roots provided, the peers met, and what others announced.
///
/// # Errors
/// `Config` for a network whose name is no part of a protocol's name; those of [`Host::recall`].
pub(crate) async fn open(settings: &Settings, host: &Host) -> Result<(Behaviour, Finder)> {
    let saver = Saver::new(host);
    let (finder, inbox) = Finder::new(host.clone(), saver.clone());
    let mut looks = interval(behaviour::LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut behaviour = Behaviour {
        host: host.clone(),
        saver: saver.clone(),
        scope: settings.routing.scope(),
        tables: tables::Tables::new(settings, host)?,
        inbox,
        jobs: jobs::Jobs::default(),
        roots: Roots::new(saver.clone(), settings.reprovide),
        book: book::Book::new(saver, book::MAX),
        remotes: remotes::Remotes::default(),
        looks,
        looked: 0,
        saves: 0,
    };
    restore(&mut behaviour, host).await?;
    Ok((behaviour, finder))
}

async fn restore(behaviour: &mut Behaviour, host: &Host) -> Result<()> {
    let mut saved = host.recall(roots::PREFIX).chain(host.recall(book::PREFIX));
    while let Some(entry) = saved.next().await {
        let (name, value) = entry?;
        if !behaviour.roots.restore(&name, &value) && !behaviour.book.restore(&name, &value) {
            tracing::debug!(name, "what was saved is damaged");
        }
    }
    let mut restored: BTreeMap<String, Restored> = BTreeMap::new();
    for (_, table) in behaviour.tables.each() {
        restored.insert(table_name(table), Restored::default());
    }
    let mut pages = host.recall(RECORDS);
    while let Some(entry) = pages.next().await {
        let (name, value) = entry?;
        let page = name[RECORDS.len()..].split_once('/');
        match page.and_then(|(table, page)| Some((restored.get_mut(table)?, page))) {
            Some((table, page)) => {
                if !table.take(page, &value) {
                    tracing::debug!(name, "what was saved is damaged");
                }
            }
            // Of a table that is not configured any more.
            None => behaviour.saver.note(name, None),
        }
    }
    for (_, table) in behaviour.tables.each() {
        let restored = restored.remove(&table_name(table)).unwrap_or_default();
        table.restore_records(restored, host.now(), |peer| host.admits(peer));
    }
    behaviour.take_back();
    Ok(())
}

/// What a table is called on the disk: its protocol, without what parts its name from the rest.
fn table_name(table: &dht::Dht) -> String {
    table.protocol().as_ref().replace('/', "%")
}
