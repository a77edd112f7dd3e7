//! Flaws of fetching whole DAGs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _};
use tokio::time::sleep;

use super::{Mutant, Wrapper};
use crate::{
    Capabilities, Claims, Error, ErrorKind, Fetch, Fetched, Follow, Host, RAW, Remote, Result, ServedStream,
    Tap, Transport, Want, WantDag,
};

/// The flaws, each for its case.
pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "asks_for_the_root_apart",
        flaw: "takes a second request for a DAG",
        case: "whole_dag_comes_in_one_request",
        make: || Arc::new(AsksForTheRootApart),
    },
    Mutant {
        name: "mixes_up_the_order",
        flaw: "hands out a DAG in another order than it came",
        case: "dag_comes_breadth_first",
        make: || Arc::new(Streams(mix_up)),
    },
    Mutant {
        name: "ignores_have",
        flaw: "what the asker has is sent again",
        case: "dag_gives_all_and_only_what_is_missing",
        make: || Arc::new(Wants(|want| want.have.clear())),
    },
    Mutant {
        name: "ignores_depth",
        flaw: "goes deeper than was asked for",
        case: "dag_depth_is_kept",
        make: || Arc::new(Wants(|want| want.depth = u32::MAX)),
    },
    Mutant {
        name: "ignores_limit_bytes",
        flaw: "sends more bytes than were asked for",
        case: "dag_limit_bytes_is_kept",
        make: || Arc::new(Wants(|want| want.limit_bytes = u64::MAX)),
    },
    Mutant {
        name: "stops_at_depth_64",
        flaw: "goes 64 links deep and no further",
        case: "deep_dag_comes_whole",
        make: || Arc::new(Wants(|want| want.depth = want.depth.min(64))),
    },
    Mutant {
        name: "stops_after_256",
        flaw: "ends every DAG after 256 blocks",
        case: "wide_dag_comes_whole",
        make: || Arc::new(Streams(|claims| claims.take(256).boxed())),
    },
    Mutant {
        name: "sends_again",
        flaw: "blocks of eight bytes come twice",
        case: "shared_blocks_come_once",
        make: || Arc::new(Streams(|claims| claims.flat_map(|claim| stream::iter(again(claim))).boxed())),
    },
    Mutant {
        name: "takes_one_root",
        flaw: "looks at the first root alone",
        case: "dag_of_many_roots_comes_whole",
        make: || Arc::new(Wants(|want| want.roots.truncate(1))),
    },
    Mutant {
        name: "follows_everything",
        flaw: "payloads come along where parents were asked for",
        case: "parents_alone_are_followed",
        make: || Arc::new(Wants(|want| want.follow = Follow::All)),
    },
    Mutant {
        name: "hides_what_is_missing",
        flaw: "a DAG without some of its blocks ends as if it were whole",
        case: "dag_that_is_not_whole_ends_in_not_found",
        make: || Arc::new(Hides(ErrorKind::NotFound)),
    },
    Mutant {
        name: "lets_a_dag_wait",
        flaw: "waits a minute longer for a block than it was told to",
        case: "idle_limit_of_a_dag_is_kept",
        make: || Arc::new(Streams(|claims| claims.then(late).boxed())),
    },
    Mutant {
        name: "serves_on",
        flaw: "serves a DAG to its end when nobody listens any more",
        case: "dropped_dag_frees_everything",
        make: || Arc::new(ServesOn),
    },
    Mutant {
        name: "reads_ahead",
        flaw: "takes a whole DAG into memory before the first block is sent",
        case: "unread_dag_waits_at_its_provider",
        make: || Arc::new(ReadsAhead),
    },
    Mutant {
        name: "asks_dag_liars_again",
        flaw: "whoever is to be avoided is asked for DAGs all the same",
        case: "lie_in_a_dag_is_blamed_and_the_rest_comes",
        make: || Arc::new(Wants(|want| want.avoid.clear())),
    },
    Mutant {
        name: "hides_a_lost_link",
        flaw: "half a DAG from a provider that went away passes for a whole one",
        case: "provider_that_goes_ends_the_dag",
        make: || Arc::new(Hides(ErrorKind::Unreachable)),
    },
    Mutant {
        name: "claims_dags",
        flaw: "claims to bring whole DAGs, and refuses to",
        case: "capability_off_is_unsupported",
        make: || Arc::new(ClaimsDags),
    },
    Mutant {
        name: "brings_an_empty_dag",
        flaw: "says that it brings no DAGs, and brings an empty one",
        case: "capability_off_is_unsupported",
        make: || Arc::new(BringsAnEmptyDag),
    },
];

#[derive(Debug)]
struct AsksForTheRootApart;

impl Tap for AsksForTheRootApart {}

#[async_trait]
impl Wrapper for AsksForTheRootApart {
    async fn fetch_dag(&self, inner: &dyn Fetch, want: &WantDag) -> Result<Claims> {
        if let Some(root) = want.roots.first() {
            // That it is there is all that matters.
            let _ = inner.block(&Want::new(*root, want.timeout)).await;
        }
        inner.dag(want).await
    }
}

/// Asks for something else.
#[derive(Debug)]
struct Wants(fn(&mut WantDag));

impl Tap for Wants {}

#[async_trait]
impl Wrapper for Wants {
    async fn fetch_dag(&self, inner: &dyn Fetch, want: &WantDag) -> Result<Claims> {
        let mut want = want.clone();
        (self.0)(&mut want);
        inner.dag(&want).await
    }
}

/// Hands out something else than what comes.
#[derive(Debug)]
struct Streams(fn(Claims) -> Claims);

impl Tap for Streams {}

#[async_trait]
impl Wrapper for Streams {
    async fn fetch_dag(&self, inner: &dyn Fetch, want: &WantDag) -> Result<Claims> {
        Ok((self.0)(inner.dag(want).await?))
    }
}

/// The second and third block change places, and so on; the root stays where it is.
fn mix_up(claims: Claims) -> Claims {
    stream::once(async move { claims.into_future().await })
        .flat_map(|(root, rest)| {
            let rest = rest.chunks(2).flat_map(|pair| stream::iter(pair.into_iter().rev()));
            stream::iter(root).chain(rest)
        })
        .boxed()
}

/// Twice what is raw and eight bytes long, as the last of the shared blocks is.
fn again(claim: Result<Fetched>) -> Vec<Result<Fetched>> {
    match claim {
        Ok(fetched) if fetched.claim.size() == 8 && fetched.claim.cid().codec() == RAW => {
            vec![Ok(fetched.clone()), Ok(fetched)]
        }
        claim => vec![claim],
    }
}

async fn late(claim: Result<Fetched>) -> Result<Fetched> {
    if claim.as_ref().is_err_and(|error| error.kind() == ErrorKind::Timeout) {
        sleep(Duration::from_secs(60)).await;
    }
    claim
}

/// Lets a stream end well where it ends with an error of this kind.
#[derive(Debug)]
struct Hides(ErrorKind);

impl Tap for Hides {}

#[async_trait]
impl Wrapper for Hides {
    async fn fetch_dag(&self, inner: &dyn Fetch, want: &WantDag) -> Result<Claims> {
        let hidden = self.0;
        let claims = inner.dag(want).await?;
        let good = move |claim: &Result<Fetched>| {
            let good = claim.as_ref().err().is_none_or(|error| error.kind() != hidden);
            std::future::ready(good)
        };
        Ok(claims.take_while(good).boxed())
    }
}

#[derive(Debug)]
struct ServesOn;

impl Tap for ServesOn {
    fn dag(&self, host: &Host, asker: Remote, want: WantDag) -> ServedStream {
        let (send, receive) = tokio::sync::mpsc::channel(1);
        let mut walk = host.dag(asker, want);
        tokio::spawn(async move {
            while let Some(step) = walk.next().await {
                // It makes no difference whether anybody listens.
                let _ = send.send(step).await;
            }
        });
        stream::unfold(receive, |mut receive| async { receive.recv().await.map(|step| (step, receive)) })
            .boxed()
    }
}

#[async_trait]
impl Wrapper for ServesOn {}

#[derive(Debug)]
struct ReadsAhead;

impl Tap for ReadsAhead {
    fn dag(&self, host: &Host, asker: Remote, want: WantDag) -> ServedStream {
        let walk = host.dag(asker, want);
        stream::once(walk.collect::<Vec<_>>()).flat_map(stream::iter).boxed()
    }
}

#[async_trait]
impl Wrapper for ReadsAhead {}

#[derive(Debug)]
struct ClaimsDags;

impl Tap for ClaimsDags {}

#[async_trait]
impl Wrapper for ClaimsDags {
    fn capabilities(&self, inner: &dyn Transport) -> Capabilities {
        with_dags(inner.capabilities(), true)
    }

    async fn fetch_dag(&self, _: &dyn Fetch, _: &WantDag) -> Result<Claims> {
        Err(Error::new(ErrorKind::Unsupported, "dag", "a mutant says so"))
    }
}

#[derive(Debug)]
struct BringsAnEmptyDag;

impl Tap for BringsAnEmptyDag {}

#[async_trait]
impl Wrapper for BringsAnEmptyDag {
    fn capabilities(&self, inner: &dyn Transport) -> Capabilities {
        with_dags(inner.capabilities(), false)
    }

    async fn fetch_dag(&self, _: &dyn Fetch, _: &WantDag) -> Result<Claims> {
        Ok(stream::empty().boxed())
    }
}

fn with_dags(mut caps: Capabilities, dags: bool) -> Capabilities {
    if let Some(fetch) = &mut caps.fetch {
        fetch.dag_in_one_request = dags;
    }
    caps
}
