//! Catching up with a few entries: back from some heads to what is here.

use carrick_core::limits::MAX_ROOTS;
use carrick_core::{Cid, Error, ErrorKind, PeerId};

use crate::batch::{Batch, Reach};
use crate::failed::Failed;
use crate::inner::Inner;
use crate::patience::Patience;

/// Entries that are said to be here, so that nobody sends them or what is before them.
const HAVE: usize = 64;

/// So many bytes of which nothing became an entry are a lie.
const COSTLY: usize = 1 << 20;

/// Fetches heads that somebody told, and everything before them that is no entry here.
///
/// # Errors
/// `Misled`, with `Rejected`, where much came and nothing of it became an entry, or where nothing did for too long; `Troubled`
/// where that may be our own fault, and with what the store answers.
pub(crate) async fn fetch(
    ledger: &Inner,
    heads: &[Cid],
    hints: &[PeerId],
    patience: &Patience,
) -> Result<(), Failed> {
    let roots = ledger.missing(heads).await?;
    if roots.is_empty() {
        return Ok(());
    }
    patience.renew();
    let mut tail = Batch::new(ledger, patience)?;
    let asked = patience.bears(async {
        for some in roots.chunks(MAX_ROOTS) {
            let have = ledger.ask(|index| index.sample(HAVE)).await?;
            tail.in_one_request(ledger, some, hints, Reach::BackTo(have)).await?;
        }
        Ok::<_, Error>(())
    });
    let asked = asked.await;
    tail.forget_known(ledger).await?;
    // Before the rest, which may be heads that nobody has.
    let first = tail.admit(ledger).await?;
    let all: Vec<Cid> = roots.iter().chain(tail.parents()).copied().collect();
    let missing = tail.missing(ledger, &all).await?;
    let fetched = match asked {
        Ok(asked) => {
            asked?;
            patience.renew();
            patience.bears(tail.back_to_what_is_here(ledger, missing, hints)).await
        }
        Err(stalled) => Err(stalled),
    };
    // What came in time is passed on all the same.
    tail.forget_known(ledger).await?;
    let rest = tail.admit(ledger).await?;
    if first + rest > 0 {
        return Ok(());
    }
    fetched??;
    if tail.bytes() <= COSTLY {
        return Ok(());
    }
    let error = Error::new(ErrorKind::Rejected, "catch up", "nothing of what came became an entry");
    Err(if tail.is_unsure() { Failed::Troubled(error) } else { Failed::Misled(error) })
}
