//! Catching up with many entries: by the pages of who has them, from all who have them, the oldest first.
//!
//! A page is a hint, never an authority: what it lists is fetched by its address and passes the gate. A page that lists what
//! is no entry of this ledger ends the attempt, and whoever told it is not asked for a while.

use std::time::Duration;

use async_stream::try_stream;
use carrick_core::limits::MAX_ROOTS;
use carrick_core::{Cid, Error, ErrorKind, PeerId, Result};
use futures::{Stream, StreamExt as _};
use tokio::time::timeout;

use crate::batch::{Batch, Reach};
use crate::failed::Failed;
use crate::inner::Inner;
use crate::page::Page;
use crate::patience::Patience;
use crate::place::{Place, cid, digest};

/// Requests for entries at once.
const REQUESTS: usize = 8;
/// Pages in which nothing is new until the others are not read any more.
const BARREN: usize = 16_384;
/// How long entries wait for the next page, so that one request asks for many of them.
const SOON: Duration = Duration::from_secs(1);

/// Fetches everything that the pages under `root` list and that is no entry here.
///
/// # Errors
/// `Misled` where a page is none, or lists what nobody has or what is no entry, or where nothing becomes one for too long, and
/// with what the fetch of a page answers; `Troubled` where that may be our own fault.
pub(crate) async fn fetch(
    ledger: &Inner,
    root: &Cid,
    hints: &[PeerId],
    patience: &Patience,
) -> Result<(), Failed> {
    patience.renew();
    let mut turn = 0;
    let batches = listed(ledger, *root, hints).map(|some| {
        // Each in turn is asked first.
        turn += 1;
        let mut hints = hints.to_vec();
        let first = turn % hints.len().max(1);
        hints.rotate_left(first);
        async move {
            let some = some?;
            Ok::<_, Failed>((fetch_some(ledger, &some, &hints, patience).await?, some))
        }
    });
    let mut batches = std::pin::pin!(batches.buffered(REQUESTS));
    while let Some(batch) = patience.bears(batches.next()).await? {
        let (mut batch, some) = batch?;
        let news = is_any_missing(ledger, &some).await?;
        batch.admit(ledger).await?;
        let all_odd = ledger.missing(&some).await?;
        if let Some(odd) = all_odd.first() {
            let why = format!("a page lists {odd}, which is no entry, or nobody has it");
            return Err(match batch.is_unsure_of(&all_odd) {
                true => Failed::Troubled(wrong(why).error()),
                false => wrong(why),
            });
        }
        if news {
            patience.renew();
        }
    }
    Ok(())
}

/// The entries that are missing here, in their order, some at a time.
fn listed(ledger: &Inner, root: Cid, hints: &[PeerId]) -> impl Stream<Item = Result<Vec<Cid>, Failed>> {
    try_stream! {
        let ours = ledger.with_index(|index| index.order.saved())?;
        let (mut some, mut barren) = (Vec::new(), 0);
        // The next one last.
        let mut next = vec![(root, None)];
        while let Some((page, level)) = next.pop() {
            if digest(&page).is_some_and(|page| ours.contains(&page)) {
                continue;
            }
            let fetching = ledger.node()?.fetch(&page, hints.to_vec());
            let mut fetching = std::pin::pin!(fetching);
            let received = match timeout(SOON, &mut fetching).await {
                Ok(received) => received,
                Err(_) => {
                    // Pages that come slowly keep what they list from nobody.
                    if !some.is_empty() {
                        yield std::mem::take(&mut some);
                    }
                    fetching.await
                }
            };
            let received = received.map_err(Failed::of_fetch)?;
            match Page::decode(received.block.bytes()).map_err(Failed::Misled)? {
                Page::Entries(places) => {
                    let missing = missing(ledger, &places).await?;
                    barren += usize::from(missing.is_empty());
                    some.extend(missing);
                }
                Page::Pages(found, pages) => {
                    if level.is_some_and(|level| found != level) {
                        Err(wrong(format!("the page {page} stands on another level")))?;
                    }
                    barren += 1;
                    next.extend(pages.iter().rev().map(|listed| (cid(&listed.page), Some(found - 1))));
                }
            }
            if barren > BARREN {
                Err(wrong("the pages list what is here already, without end"))?;
            }
            while some.len() >= MAX_ROOTS {
                let rest = some.split_off(MAX_ROOTS);
                yield std::mem::replace(&mut some, rest);
            }
        }
        if !some.is_empty() {
            yield some;
        }
    }
}

/// Those that are no entries here. What stands behind all that is here need not be looked up; where a page lies about that, what
/// is here is fetched again, and that is all.
async fn missing(ledger: &Inner, places: &[Place]) -> Result<Vec<Cid>> {
    let last = ledger.with_index(|index| index.last_clock())?;
    let (within, behind) = places.split_at(places.partition_point(|place| place.clock() <= last));
    let within: Vec<Cid> = within.iter().map(Place::cid).collect();
    let mut missing = ledger.missing(&within).await?;
    missing.extend(behind.iter().map(Place::cid));
    Ok(missing)
}

async fn is_any_missing(ledger: &Inner, some: &[Cid]) -> Result<bool> {
    for cid in some {
        if ledger.place(cid).await?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn wrong(why: impl Into<String>) -> Failed {
    Failed::Misled(Error::new(ErrorKind::Rejected, "catch up", why.into()))
}

async fn fetch_some<'a>(
    ledger: &Inner,
    some: &[Cid],
    hints: &[PeerId],
    patience: &'a Patience,
) -> Result<Batch<'a>> {
    let mut batch = Batch::new(ledger, patience)?;
    batch.in_one_request(ledger, some, hints, Reach::Alone).await?;
    let missing = batch.missing(ledger, some).await?;
    batch.one_by_one(ledger, missing, hints).await?;
    Ok(batch)
}
