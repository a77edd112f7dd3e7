//! Flaws of fetching.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::{sleep, timeout};

use super::{Mutant, Wrapper, lock};
use crate::{
    Claim, Error, ErrorKind, Fetch, Fetched, Host, PeerAddr, RAW, Remote, Result, Served, Tap, Transport,
    Want,
};

/// The flaws, each for its case.
pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "never_asks",
        flaw: "nobody is asked for a block",
        case: "block_is_fetched",
        make: || Arc::new(NeverAsks),
    },
    Mutant {
        name: "loses_empty_blocks",
        flaw: "a block without bytes is taken for none",
        case: "blocks_of_every_size_are_fetched",
        make: || Arc::new(LosesEmptyBlocks),
    },
    Mutant {
        name: "cuts_large_blocks",
        flaw: "of a block that is too large the beginning is handed out",
        case: "block_above_the_limit_is_refused",
        make: || Arc::new(CutsLargeBlocks),
    },
    Mutant {
        name: "forgets_the_codec",
        flaw: "a block of few bytes is said to be raw, whatever was asked for",
        case: "block_comes_under_the_address_asked_for",
        make: || Arc::new(ForgetsTheCodec),
    },
    Mutant {
        name: "hangs_on_absent",
        flaw: "waits on when all who were asked have it not",
        case: "absent_block_ends_in_not_found",
        make: || Arc::new(HangsOn(ErrorKind::NotFound)),
    },
    Mutant {
        name: "hangs_without_peers",
        flaw: "waits for somebody to ask",
        case: "without_anybody_to_ask_it_says_so",
        make: || Arc::new(HangsOn(ErrorKind::NoPeers)),
    },
    Mutant {
        name: "names_who_came_first",
        flaw: "every block is said to come from the first provider ever",
        case: "provider_is_named",
        make: || Arc::new(NamesWhoCameFirst::default()),
    },
    Mutant {
        name: "names_nobody",
        flaw: "says that it names providers, and does not",
        case: "wrong_bytes_are_blamed_and_avoided",
        make: || Arc::new(NamesNobody),
    },
    Mutant {
        name: "asks_liars_again",
        flaw: "a hint outdoes what is to be avoided",
        case: "wrong_bytes_are_blamed_and_avoided",
        make: || Arc::new(AsksLiarsAgain),
    },
    Mutant {
        name: "ignores_hints",
        flaw: "hints are not looked at",
        case: "hinted_are_asked_first",
        make: || Arc::new(IgnoresHints),
    },
    Mutant {
        name: "asks_the_avoided",
        flaw: "where nobody else is left, those to be avoided are asked",
        case: "avoided_are_not_asked",
        make: || Arc::new(AsksTheAvoided),
    },
    Mutant {
        name: "gives_up_early",
        flaw: "the whole search ends when the first provider is slow",
        case: "silent_provider_does_not_end_the_search",
        make: || Arc::new(GivesUpEarly),
    },
    Mutant {
        name: "adds_its_own_time",
        flaw: "waits a minute longer than it was told to",
        case: "timeout_is_kept",
        make: || Arc::new(AddsItsOwnTime),
    },
    Mutant {
        name: "goes_on_without_the_asker",
        flaw: "a fetch goes on in a task when it was dropped",
        case: "dropped_fetch_frees_everything",
        make: || Arc::new(GoesOnWithoutTheAsker::default()),
    },
    Mutant {
        name: "asks_twice",
        flaw: "asks for each block a second time, to be sure",
        case: "hundred_fetches_of_one_block_ask_once",
        make: || Arc::new(AsksTwice),
    },
    Mutant {
        name: "refuses_many",
        flaw: "more than a hundred fetches at once are refused",
        case: "many_blocks_come_at_once",
        make: || Arc::new(RefusesMany::default()),
    },
    Mutant {
        name: "keeps_shares",
        flaw: "keeps a share of serving memory for each block that it sent",
        case: "served_memory_is_bounded",
        make: || Arc::new(KeepsShares::default()),
    },
    Mutant {
        name: "waits_for_those_who_left",
        flaw: "a provider that went away is waited for",
        case: "provider_that_goes_ends_the_fetch",
        make: || Arc::new(HangsOn(ErrorKind::Unreachable)),
    },
    Mutant {
        name: "refuses_to_provide",
        flaw: "nothing can be provided",
        case: "provided_block_is_served_after_provide",
        make: || Arc::new(RefusesToProvide),
    },
    Mutant {
        name: "provides_anything",
        flaw: "what the node has not is provided too, in words",
        case: "absent_block_is_not_provided",
        make: || Arc::new(ProvidesAnything),
    },
    Mutant {
        name: "answers_from_a_cache",
        flaw: "remembers what came, and hands it out again",
        case: "withdraw_ends_it",
        make: || Arc::new(AnswersFromACache::default()),
    },
    Mutant {
        name: "tells_no_addresses",
        flaw: "providers are told without an address",
        case: "providers_can_be_dialled",
        make: || Arc::new(TellsNoAddresses),
    },
    Mutant {
        name: "tells_too_many",
        flaw: "tells every provider, however few were asked for",
        case: "providers_can_be_dialled",
        make: || Arc::new(TellsTooMany),
    },
];

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "block", "a mutant says so")
}

#[derive(Debug)]
struct NeverAsks;

impl Tap for NeverAsks {}

#[async_trait]
impl Wrapper for NeverAsks {
    async fn fetch_block(&self, _: &dyn Fetch, _: &Want) -> Result<Fetched> {
        Err(error(ErrorKind::NotFound))
    }
}

#[derive(Debug)]
struct LosesEmptyBlocks;

impl Tap for LosesEmptyBlocks {}

#[async_trait]
impl Wrapper for LosesEmptyBlocks {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        let fetched = inner.block(want).await?;
        if fetched.claim.size() == 0 && want.cid.codec() == RAW {
            return Err(error(ErrorKind::NotFound));
        }
        Ok(fetched)
    }
}

#[derive(Debug)]
struct CutsLargeBlocks;

impl Tap for CutsLargeBlocks {}

#[async_trait]
impl Wrapper for CutsLargeBlocks {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        match inner.block(want).await {
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                Ok(Fetched { claim: Claim::new(want.cid, Bytes::from_static(b"the beginning")), from: None })
            }
            answer => answer,
        }
    }
}

#[derive(Debug)]
struct ForgetsTheCodec;

impl Tap for ForgetsTheCodec {}

#[async_trait]
impl Wrapper for ForgetsTheCodec {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        let Fetched { claim, from } = inner.block(want).await?;
        // Of small blocks, so that the DAGs of other cases hold.
        let cid = if claim.size() < 5 { Cid::new_v1(RAW, *claim.cid().hash()) } else { *claim.cid() };
        Ok(Fetched { claim: Claim::new(cid, claim.check()?.into_bytes()), from })
    }
}

/// Waits for ever where an error of this kind is the answer.
#[derive(Debug)]
struct HangsOn(ErrorKind);

impl Tap for HangsOn {}

#[async_trait]
impl Wrapper for HangsOn {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        match inner.block(want).await {
            Err(error) if error.kind() == self.0 => pending().await,
            answer => answer,
        }
    }
}

#[derive(Debug, Default)]
struct NamesWhoCameFirst(OnceLock<Option<Remote>>);

impl Tap for NamesWhoCameFirst {}

#[async_trait]
impl Wrapper for NamesWhoCameFirst {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        let Fetched { claim, from } = inner.block(want).await?;
        Ok(Fetched { claim, from: self.0.get_or_init(|| from).clone() })
    }
}

#[derive(Debug)]
struct NamesNobody;

impl Tap for NamesNobody {}

#[async_trait]
impl Wrapper for NamesNobody {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        Ok(Fetched { from: None, ..inner.block(want).await? })
    }
}

#[derive(Debug)]
struct AsksLiarsAgain;

impl Tap for AsksLiarsAgain {}

#[async_trait]
impl Wrapper for AsksLiarsAgain {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        let mut want = want.clone();
        let hinted = |who: &Remote| who.peer().is_some_and(|peer| want.hints.contains(peer));
        want.avoid.retain(|who| !hinted(who));
        inner.block(&want).await
    }
}

#[derive(Debug)]
struct IgnoresHints;

impl Tap for IgnoresHints {}

#[async_trait]
impl Wrapper for IgnoresHints {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        inner.block(&Want { hints: vec![], ..want.clone() }).await
    }
}

#[derive(Debug)]
struct AsksTheAvoided;

impl Tap for AsksTheAvoided {}

#[async_trait]
impl Wrapper for AsksTheAvoided {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        match inner.block(want).await {
            Err(error) if error.kind() == ErrorKind::NoPeers => {
                inner.block(&Want { avoid: vec![], ..want.clone() }).await
            }
            answer => answer,
        }
    }
}

#[derive(Debug)]
struct GivesUpEarly;

impl Tap for GivesUpEarly {}

#[async_trait]
impl Wrapper for GivesUpEarly {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        let early = timeout(Duration::from_millis(500), inner.block(want)).await;
        early.unwrap_or_else(|_| Err(error(ErrorKind::Timeout)))
    }
}

#[derive(Debug)]
struct AddsItsOwnTime;

impl Tap for AddsItsOwnTime {}

#[async_trait]
impl Wrapper for AddsItsOwnTime {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        let answer = inner.block(want).await;
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Timeout) {
            sleep(Duration::from_secs(60)).await;
        }
        answer
    }
}

#[derive(Debug, Default)]
struct GoesOnWithoutTheAsker(OnceLock<Weak<dyn Transport>>);

impl Tap for GoesOnWithoutTheAsker {}

#[async_trait]
impl Wrapper for GoesOnWithoutTheAsker {
    fn opened(&self, inner: &Arc<dyn Transport>) {
        let _ = self.0.set(Arc::downgrade(inner));
    }

    async fn fetch_block(&self, _: &dyn Fetch, want: &Want) -> Result<Fetched> {
        let inner = self.0.get().and_then(Weak::upgrade).ok_or_else(|| error(ErrorKind::Closed))?;
        let want = want.clone();
        let task = tokio::spawn(async move {
            match inner.fetch() {
                Some(fetch) => fetch.block(&want).await,
                None => Err(error(ErrorKind::Unsupported)),
            }
        });
        task.await.unwrap_or_else(|_| Err(error(ErrorKind::Closed)))
    }
}

#[derive(Debug)]
struct AsksTwice;

impl Tap for AsksTwice {}

#[async_trait]
impl Wrapper for AsksTwice {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        let first = inner.block(want).await?;
        if want.hints.is_empty() { inner.block(want).await } else { Ok(first) }
    }
}

#[derive(Debug, Default)]
struct RefusesMany(AtomicUsize);

impl Tap for RefusesMany {}

#[async_trait]
impl Wrapper for RefusesMany {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        if self.0.fetch_add(1, Ordering::SeqCst) >= 100 {
            return Err(error(ErrorKind::Busy));
        }
        let answer = inner.block(want).await;
        self.0.fetch_sub(1, Ordering::SeqCst);
        answer
    }
}

#[derive(Debug, Default)]
struct KeepsShares(Mutex<Vec<Served>>);

impl Tap for KeepsShares {
    fn block<'a>(
        &'a self,
        host: &'a Host,
        asker: &'a Remote,
        cid: &'a Cid,
    ) -> BoxFuture<'a, Result<Option<Served>>> {
        async move {
            let served = host.block(asker, cid).await?;
            // Small ones would not be missed.
            if served.as_ref().is_some_and(|served| served.bytes().len() == 64 << 10) {
                lock(&self.0).extend(served);
                return host.block(asker, cid).await;
            }
            Ok(served)
        }
        .boxed()
    }
}

#[async_trait]
impl Wrapper for KeepsShares {}

#[derive(Debug)]
struct RefusesToProvide;

impl Tap for RefusesToProvide {}

#[async_trait]
impl Wrapper for RefusesToProvide {
    async fn provide(&self, _: &dyn Fetch, _: &[Cid]) -> Result<()> {
        Err(error(ErrorKind::Unsupported))
    }
}

#[derive(Debug)]
struct ProvidesAnything;

impl Tap for ProvidesAnything {}

#[async_trait]
impl Wrapper for ProvidesAnything {
    async fn provide(&self, inner: &dyn Fetch, cids: &[Cid]) -> Result<()> {
        match inner.provide(cids).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            answer => answer,
        }
    }
}

#[derive(Debug, Default)]
struct AnswersFromACache(Mutex<BTreeMap<Cid, Fetched>>);

impl Tap for AnswersFromACache {}

#[async_trait]
impl Wrapper for AnswersFromACache {
    async fn fetch_block(&self, inner: &dyn Fetch, want: &Want) -> Result<Fetched> {
        match inner.block(want).await {
            Ok(fetched) => {
                lock(&self.0).insert(want.cid, fetched.clone());
                Ok(fetched)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                lock(&self.0).get(&want.cid).cloned().ok_or(error)
            }
            answer => answer,
        }
    }
}

#[derive(Debug)]
struct TellsNoAddresses;

impl Tap for TellsNoAddresses {}

#[async_trait]
impl Wrapper for TellsNoAddresses {
    async fn providers(&self, inner: &dyn Fetch, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        let mut found = inner.providers(cid, limit).await?;
        found.iter_mut().for_each(|provider| provider.addrs.clear());
        Ok(found)
    }
}

#[derive(Debug)]
struct TellsTooMany;

impl Tap for TellsTooMany {}

#[async_trait]
impl Wrapper for TellsTooMany {
    async fn providers(&self, inner: &dyn Fetch, cid: &Cid, _: usize) -> Result<Vec<PeerAddr>> {
        inner.providers(cid, usize::MAX).await
    }
}
