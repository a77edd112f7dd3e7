//! Whole DAGs: everything asked for, nothing else, in one request.

use std::collections::BTreeSet;

use async_trait::async_trait;
use cid::Cid;
use futures::StreamExt as _;
use serde::Serialize;
use tokio::time::Instant;

use super::kit::refusal;
use super::provider::{Provider, absent, asks_host, no_fetch, raw, small_blocks, watched_pair};
use super::{Kit, Member, Outcome, Wrapper};
use crate::{
    Block, Capabilities, Claims, DAG_CBOR, Error, ErrorKind, Fetch, Follow, GetOptions, Identity, Received,
    Remote, Result, Tap, Transport, WantDag,
};

pub(super) async fn whole_dag_comes_in_one_request(kit: Kit) -> Outcome {
    let provider = Provider::default();
    let [near, far] = watched_pair(&kit, &provider).await;
    if let Some(refused) = no_dag(&near).await {
        return refused;
    }
    let blocks = tree();
    far.put_blocks(&blocks).await.expect("puts");
    let (came, ended) = walk(&kit, &near, &want(&kit, &blocks[0])).await;
    assert_eq!((set(came), ended), (all(&blocks), None));
    assert_eq!((provider.asked_for_dags(), provider.asked_for_blocks()), (1, 0), "DAGs and blocks asked for");
    Outcome::Kept
}

pub(super) async fn dag_comes_breadth_first(kit: Kit) -> Outcome {
    let members = kit.line(3).await;
    let near = &members[1];
    if let Some(refused) = no_dag(near).await {
        return refused;
    }
    // The other neighbour has nothing of it.
    let blocks = tree();
    members[2].put_blocks(&blocks).await.expect("puts");
    let (came, ended) = walk(&kit, near, &want(&kit, &blocks[0])).await;
    assert_eq!((came, ended), (blocks.iter().map(|block| *block.cid()).collect(), None));
    Outcome::Kept
}

pub(super) async fn dag_gives_all_and_only_what_is_missing(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if let Some(refused) = no_dag(&near).await {
        return refused;
    }
    let blocks = tree();
    far.put_blocks(&blocks).await.expect("puts");
    let mut want = want(&kit, &blocks[0]);
    // The left branch, and so the two leaves under it.
    want.have = vec![*blocks[1].cid()];
    let missing = [blocks[0].clone(), blocks[2].clone(), blocks[5].clone(), blocks[6].clone()];
    let (came, ended) = walk(&kit, &near, &want).await;
    assert_eq!((set(came), ended), (all(&missing), None));
    want.have = vec![*blocks[0].cid()];
    assert_eq!(walk(&kit, &near, &want).await, (vec![], None), "who has the root has all");
    Outcome::Kept
}

pub(super) async fn dag_depth_is_kept(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if let Some(refused) = no_dag(&near).await {
        return refused;
    }
    let blocks = tree();
    far.put_blocks(&blocks).await.expect("puts");
    let mut want = want(&kit, &blocks[0]);
    for (depth, come) in [(0, 1), (1, 3), (2, 7), (3, 7)] {
        want.depth = depth;
        let (came, ended) = walk(&kit, &near, &want).await;
        assert_eq!((set(came), ended), (all(&blocks[..come]), None), "{depth} links below the root");
    }
    Outcome::Kept
}

pub(super) async fn dag_limit_bytes_is_kept(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if let Some(refused) = no_dag(&near).await {
        return refused;
    }
    let blocks = fan(4, 1_000);
    far.put_blocks(&blocks).await.expect("puts");
    let mut want = want(&kit, &blocks[0]);
    want.limit_bytes = blocks[0].size() as u64 + 2_500;
    let (came, ended) = walk(&kit, &near, &want).await;
    assert_eq!((set(came), ended), (all(&blocks[..3]), Some(ErrorKind::TooLarge)));
    want.limit_bytes = blocks[0].size() as u64 + 4_000;
    assert_eq!(walk(&kit, &near, &want).await.1, None, "what just fits comes whole");
    Outcome::Kept
}

pub(super) async fn deep_dag_comes_whole(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if let Some(refused) = no_dag(&near).await {
        return refused;
    }
    let blocks = chain(200);
    far.put_blocks(&blocks).await.expect("puts");
    let (came, ended) = walk(&kit, &near, &want(&kit, &blocks[0])).await;
    assert_eq!((set(came), ended), (all(&blocks), None));
    Outcome::Kept
}

pub(super) async fn wide_dag_comes_whole(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if let Some(refused) = no_dag(&near).await {
        return refused;
    }
    let blocks = fan(1_000, 10);
    far.put_blocks(&blocks).await.expect("puts");
    let (came, ended) = walk(&kit, &near, &want(&kit, &blocks[0])).await;
    assert_eq!((set(came), ended), (all(&blocks), None));
    Outcome::Kept
}

pub(super) async fn shared_blocks_come_once(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if let Some(refused) = no_dag(&near).await {
        return refused;
    }
    // Each block links twice to the next: 2^20 ways lead to the last.
    let mut blocks = vec![raw(&b"the last"[..])];
    for salt in 0..20 {
        let next = &blocks[blocks.len() - 1];
        blocks.push(linking(&[next, next], salt));
    }
    blocks.reverse();
    far.put_blocks(&blocks).await.expect("puts");
    let (came, ended) = walk(&kit, &near, &want(&kit, &blocks[0])).await;
    assert_eq!((came.len(), ended), (blocks.len(), None), "each block once");
    assert_eq!(set(came), all(&blocks));
    Outcome::Kept
}

pub(super) async fn dag_of_many_roots_comes_whole(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if let Some(refused) = no_dag(&near).await {
        return refused;
    }
    let shared = raw(&b"under all of them"[..]);
    let mut blocks: Vec<_> = (0..crate::limits::MAX_ROOTS as u64).map(|n| linking(&[&shared], n)).collect();
    let mut want = want(&kit, &shared);
    want.roots = blocks.iter().map(|root| *root.cid()).collect();
    blocks.push(shared);
    far.put_blocks(&blocks).await.expect("puts");
    let (came, ended) = walk(&kit, &near, &want).await;
    assert_eq!((set(came), ended), (all(&blocks), None));
    Outcome::Kept
}

pub(super) async fn parents_alone_are_followed(kit: Kit) -> Outcome {
    /// What makes a message of a map, as far as a walk looks.
    #[derive(Serialize)]
    struct Message {
        v: u64,
        topic: &'static str,
        author: &'static str,
        parents: Vec<Cid>,
        link: Cid,
    }
    let [near, far] = kit.pair().await;
    if let Some(refused) = no_dag(&near).await {
        return refused;
    }
    let payload = raw(&b"a payload"[..]);
    let message = |parents: Vec<Cid>| {
        let body = Message { v: 1, topic: "readings", author: "", parents, link: *payload.cid() };
        Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&body).expect("encodes"))
    };
    let first = message(vec![]);
    let second = message(vec![*first.cid()]);
    far.put_blocks(&[payload.clone(), first.clone(), second.clone()]).await.expect("puts");
    let mut want = want(&kit, &second);
    want.follow = Follow::Parents;
    let (came, ended) = walk(&kit, &near, &want).await;
    assert_eq!((set(came), ended), (all(&[first, second]), None), "the history without payloads");
    Outcome::Kept
}

pub(super) async fn dag_that_is_not_whole_ends_in_not_found(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if let Some(refused) = no_dag(&near).await {
        return refused;
    }
    let blocks = fan(4, 1_000);
    far.put_blocks(&blocks[..3]).await.expect("puts");
    let (came, ended) = walk(&kit, &near, &want(&kit, &blocks[0])).await;
    assert_eq!((set(came), ended), (all(&blocks[..3]), Some(ErrorKind::NotFound)), "what came stays good");
    let (came, ended) = walk(&kit, &near, &want(&kit, &absent())).await;
    assert_eq!((came, ended), (vec![], Some(ErrorKind::NotFound)));
    Outcome::Kept
}

pub(super) async fn idle_limit_of_a_dag_is_kept(kit: Kit) -> Outcome {
    let [near, far] = watched_pair(&kit, &Provider::stalling_after(3)).await;
    if let Some(refused) = no_dag(&near).await {
        return refused;
    }
    let blocks = fan(4, 1_000);
    far.put_blocks(&blocks).await.expect("puts");
    let mut want = want(&kit, &blocks[0]);
    want.timeout = kit.quiet();
    let began = Instant::now();
    let (came, ended) = walk(&kit, &near, &want).await;
    assert_eq!((set(came), ended), (all(&blocks[..3]), Some(ErrorKind::Timeout)));
    let took = began.elapsed();
    assert!(took < kit.patience() / 6, "it took {took:?} where a block may take {:?}", want.timeout);
    Outcome::Kept
}

pub(super) async fn dropped_dag_frees_everything(kit: Kit) -> Outcome {
    let provider = Provider::stalling_after(1);
    let [near, far] = watched_pair(&kit, &provider).await;
    if let Some(refused) = no_dag(&near).await {
        return refused;
    }
    let blocks = fan(4, 1_000);
    far.put_blocks(&blocks).await.expect("puts");
    for _ in 0..3 {
        let mut claims = near.fetch().dag(&want(&kit, &blocks[0])).await.expect("begins");
        kit.soon("the root", claims.next()).await.expect("a block").expect("comes");
        kit.soon("the request", provider.busy_with(1)).await;
        drop(claims);
        kit.soon("that the far end lets go", provider.busy_with(0)).await;
    }
    Outcome::Kept
}

pub(super) async fn unread_dag_waits_at_its_provider(kit: Kit) -> Outcome {
    let (near, provider) =
        (kit.node_with(|builder| builder.limits(small_blocks(16))).await, Provider::default());
    let far = kit.open_wrapped(kit.builder().limits(small_blocks(16)), provider.clone()).await;
    kit.link(&near, &far).await;
    if let Some(refused) = no_dag(&near).await {
        return refused;
    }
    let blocks = fan(80, far.limits().block_bytes);
    far.put_blocks(&blocks).await.expect("puts");
    let mut claims = near.fetch().dag(&want(&kit, &blocks[0])).await.expect("begins");
    kit.soon("the root", claims.next()).await.expect("a block").expect("comes");
    let others = [raw(&b"one"[..]), raw(&b"two"[..])];
    far.put_blocks(&others).await.expect("puts");
    for block in &others {
        kit.soon("a block beside it", near.block(block.cid(), vec![])).await.expect("it comes");
    }
    tokio::time::sleep(kit.quiet()).await;
    let sent = provider.sent_of_dags();
    assert!(sent < blocks.len() / 2, "{sent} of {} blocks left their store unread", blocks.len());
    let rest = kit.soon("the rest", claims.collect::<Vec<_>>()).await;
    assert!(rest.iter().all(Result::is_ok), "what waited comes");
    assert_eq!(rest.len(), blocks.len() - 1);
    Outcome::Kept
}

pub(super) async fn lie_in_a_dag_is_blamed_and_the_rest_comes(kit: Kit) -> Outcome {
    let (blocks, lie) = (fan(4, 1_000), raw(&b"a lie"[..]));
    let provider = Provider::lying([(&blocks[2], &lie)]);
    let [near, liar] = watched_pair(&kit, &provider).await;
    if let Some(refused) = no_dag(&near).await {
        return refused;
    }
    let honest = kit.node().await;
    kit.link(&near, &honest).await;
    liar.put_blocks(&blocks).await.expect("puts");
    liar.put_blocks(std::slice::from_ref(&lie)).await.expect("puts");
    honest.put_blocks(&blocks).await.expect("puts");
    let mut want = want(&kit, &blocks[0]);
    want.hints = vec![liar.peer_id()];
    let received = kit.soon("a beginning", near.fetch_dag(want)).await.expect("begins");
    let came: Result<Vec<_>> = kit.soon("an end", received.collect::<Vec<_>>()).await.into_iter().collect();
    if near.caps().fetch.is_some_and(|caps| !caps.names_provider) {
        assert!(came.is_ok_and(|came| came.len() == blocks.len()) || provider.asked_for_dags() > 0);
        return Outcome::Unsupported("avoiding who is never named");
    }
    let came = came.expect("the second delivers");
    assert_eq!(came.iter().map(|one| *one.block.cid()).collect::<BTreeSet<_>>(), all(&blocks));
    let lied = provider.asked_for_dags();
    assert!(lied <= 1, "who lied is not asked again: {lied} times");
    near.blames_alone((lied > 0).then_some(&liar)).await;
    let named = |one: &Received| match near.caps().identity {
        Identity::Peer => one.from == Some(Remote::Peer(honest.peer_id())),
        _ => one.from.is_some(),
    };
    assert!(came.iter().any(named), "who sent a block is named");
    Outcome::Kept
}

pub(super) async fn provider_that_goes_ends_the_dag(kit: Kit) -> Outcome {
    let provider = Provider::stalling_after(1);
    let [near, far] = watched_pair(&kit, &provider).await;
    if let Some(refused) = no_dag(&near).await {
        return refused;
    }
    let blocks = fan(4, 1_000);
    far.put_blocks(&blocks).await.expect("puts");
    let mut want = want(&kit, &blocks[0]);
    want.timeout = 2 * kit.patience();
    let mut claims = near.fetch().dag(&want).await.expect("begins");
    kit.soon("the root", claims.next()).await.expect("a block").expect("comes");
    kit.soon("the end of a node", far.close()).await.expect("closes");
    let last = kit.soon("word that the provider is gone", claims.next()).await;
    assert_eq!(refusal(last.expect("half a DAG does not pass for a whole one")), ErrorKind::Unreachable);
    Outcome::Kept
}

pub(super) async fn get_brings_what_is_missing(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if near.caps().fetch.is_none() {
        return no_fetch(&near).await;
    }
    let blocks = tree();
    far.put_blocks(&blocks).await.expect("puts");
    // The root and all of its left branch are there.
    let there = [0, 1, 3, 4].map(|at| blocks[at].clone());
    near.put_blocks(&there).await.expect("puts");
    let got = kit.soon("the rest", near.get(blocks[0].cid(), GetOptions::default())).await.expect("comes");
    assert_eq!(got.blocks, 3, "what is there is not fetched");
    for block in &blocks {
        assert!(near.store().has(block.cid()).await.expect("has"), "all is there");
    }
    Outcome::Kept
}

/// Round a transport that then brings single blocks alone.
#[derive(Debug)]
struct SingleBlocks;

impl Tap for SingleBlocks {}

#[async_trait]
impl Wrapper for SingleBlocks {
    fn capabilities(&self, inner: &dyn Transport) -> Capabilities {
        let mut caps = inner.capabilities();
        if let Some(fetch) = &mut caps.fetch {
            fetch.dag_in_one_request = false;
        }
        caps
    }

    async fn fetch_dag(&self, _: &dyn Fetch, _: &WantDag) -> Result<Claims> {
        Err(Error::new(ErrorKind::Unsupported, "dag", "single blocks alone"))
    }
}

pub(super) async fn single_blocks_make_a_whole_dag(kit: Kit) -> Outcome {
    let (near, provider) = (kit.node_wrapped(SingleBlocks).await, Provider::default());
    let far = kit.node_wrapped(provider.clone()).await;
    kit.link(&near, &far).await;
    let Some(caps) = near.caps().fetch else { return no_fetch(&near).await };
    assert!(no_dag(&near).await.is_some(), "it is refused, which is what the node has to do without");
    let blocks = tree();
    far.put_blocks(&blocks).await.expect("puts");
    let got = kit.soon("all", near.get(blocks[0].cid(), GetOptions::default())).await.expect("comes");
    for block in &blocks {
        assert!(near.store().has(block.cid()).await.expect("has"), "all is there");
    }
    assert_eq!(got.blocks, blocks.len() as u64, "all came");
    if asks_host(&caps) {
        assert_eq!((provider.asked_for_dags(), provider.asked_for_blocks()), (0, blocks.len()));
    }
    Outcome::Kept
}

pub(super) async fn capability_off_is_unsupported(kit: Kit) -> Outcome {
    let near = kit.node().await;
    let caps = near.caps();
    assert_eq!(caps.broadcast.is_some(), near.transport.broadcast().is_some(), "the part that broadcasts");
    assert_eq!(caps.fetch.is_some(), near.transport.fetch().is_some(), "the part that fetches");
    match no_dag(&near).await {
        Some(refused) => refused,
        None => {
            let answer = near.fetch().dag(&want(&kit, &absent())).await;
            assert!(
                !answer.is_err_and(|error| error.kind() == ErrorKind::Unsupported),
                "what is promised is not refused"
            );
            Outcome::Kept
        }
    }
}

/// That whole DAGs are refused, where that is what the capabilities say; by the transport and by its node.
async fn no_dag(member: &Member) -> Option<Outcome> {
    let Some(caps) = member.caps().fetch else { return Some(no_fetch(member).await) };
    if caps.dag_in_one_request {
        return None;
    }
    let want = WantDag::new(*absent().cid(), std::time::Duration::from_secs(1));
    let answer = member.fetch().dag(&want).await;
    assert_eq!(refusal(answer), ErrorKind::Unsupported, "what is not promised is refused");
    let answer = member.fetch_dag(want).await;
    assert_eq!(refusal(answer), ErrorKind::Unsupported, "and the node says so");
    Some(Outcome::Unsupported("a whole DAG in one request"))
}

/// Everything under a block, to be there when the case gives up.
fn want(kit: &Kit, root: &Block) -> WantDag {
    WantDag::new(*root.cid(), kit.patience())
}

/// Asks the transport itself: the addresses of what comes, and why not all did. What comes is checked.
pub(super) async fn walk(kit: &Kit, member: &Member, want: &WantDag) -> (Vec<Cid>, Option<ErrorKind>) {
    let walk = async {
        let mut came = Vec::new();
        let mut claims = match member.fetch().dag(want).await {
            Ok(claims) => claims,
            Err(error) => return (came, Some(error.kind())),
        };
        while let Some(fetched) = claims.next().await {
            match fetched {
                Ok(fetched) => came.push(*fetched.claim.check().expect("the right bytes").cid()),
                Err(error) => return (came, Some(error.kind())),
            }
        }
        (came, None)
    };
    kit.soon("the end of a DAG", walk).await
}

/// A block with links, as dag-cbor.
fn linking(links: &[&Block], salt: u64) -> Block {
    #[derive(Serialize)]
    struct Body {
        links: Vec<Cid>,
        salt: u64,
    }
    let body = Body { links: links.iter().map(|block| *block.cid()).collect(), salt };
    Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&body).expect("encodes"))
}

/// A root with two branches of two leaves each, breadth first.
fn tree() -> Vec<Block> {
    let leaves = [0, 1, 2, 3].map(|n| raw(format!("leaf {n}")));
    let branches = [linking(&[&leaves[0], &leaves[1]], 1), linking(&[&leaves[2], &leaves[3]], 2)];
    let root = linking(&[&branches[0], &branches[1]], 0);
    [&[root], &branches[..], &leaves].concat()
}

/// A root with so many leaves of so many bytes, none of them equal.
fn fan(leaves: u32, bytes: usize) -> Vec<Block> {
    let leaf = |n: u32| {
        let mut content = vec![0; bytes];
        content[..4].copy_from_slice(&n.to_be_bytes());
        raw(content)
    };
    let leaves: Vec<_> = (0..leaves).map(leaf).collect();
    let root = linking(&leaves.iter().collect::<Vec<_>>(), 0);
    [&[root], &leaves[..]].concat()
}

/// So many blocks, each with a link to the next.
fn chain(length: u64) -> Vec<Block> {
    let mut blocks = vec![linking(&[], 0)];
    for salt in 1..length {
        blocks.push(linking(&[&blocks[blocks.len() - 1]], salt));
    }
    blocks.reverse();
    blocks
}

fn set(cids: Vec<Cid>) -> BTreeSet<Cid> {
    cids.into_iter().collect()
}

fn all(blocks: &[Block]) -> BTreeSet<Cid> {
    blocks.iter().map(|block| *block.cid()).collect()
}
