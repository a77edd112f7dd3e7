//! Content comes whole and checked, or not at all.

use std::pin::pin;
use std::time::Duration;

use cid::Cid;
use futures::future::join_all;
use multihash_codetable::{Code, MultihashDigest as _};
use tokio::time::Instant;

use super::dag::walk;
use super::kit::refusal;
use super::provider::{Provider, absent, asks_host, no_fetch, own_store, raw, small_blocks, watched_pair};
use super::{Kit, Member, Outcome};
use crate::dag::DAG_PB;
use crate::{
    Block, Claim, DAG_CBOR, Discovery, ErrorKind, Fetched, Identity, Limits, PeerAddr, PeerId, RAW, Remote,
    Result, Serving, Want, WantDag,
};

pub(super) async fn block_is_fetched(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if near.caps().fetch.is_none() {
        return no_fetch(&near).await;
    }
    let block = put(&far, raw(&b"content"[..])).await;
    let fetched = kit.soon("a block", near.block(block.cid(), vec![])).await.expect("it comes");
    assert_eq!(fetched, block);
    let however_long = Want::new(*block.cid(), Duration::MAX);
    let fetched = kit.soon("a block", ask(&near, &however_long)).await.expect("it comes");
    assert_eq!(fetched.claim.cid(), block.cid());
    Outcome::Kept
}

pub(super) async fn blocks_of_every_size_are_fetched(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    let Some(caps) = near.caps().fetch else { return no_fetch(&near).await };
    for size in [0, 1, 1_000, caps.max_block_bytes.min(near.limits().block_bytes)] {
        let block = put(&far, raw(vec![7; size])).await;
        let fetched = kit.soon("a block", near.block(block.cid(), vec![])).await.expect("it comes");
        assert_eq!(fetched, block, "{size} bytes are fetched as they are");
    }
    Outcome::Kept
}

pub(super) async fn block_above_the_limit_is_refused(kit: Kit) -> Outcome {
    let near = kit.node_with(|builder| builder.limits(small_blocks(4))).await;
    let far = kit.node().await;
    kit.link(&near, &far).await;
    if near.caps().fetch.is_none() {
        return no_fetch(&near).await;
    }
    let limit = near.limits().block_bytes;
    let above = put(&far, raw(vec![7; limit + 1])).await;
    let answer = kit.soon("an answer", ask(&near, &want(&kit, &above))).await;
    assert_eq!(refusal(answer), ErrorKind::TooLarge);
    assert_eq!(refusal(near.put_blocks(std::slice::from_ref(&above)).await), ErrorKind::TooLarge);
    let fits = put(&far, raw(vec![7; limit])).await;
    kit.soon("a block", near.block(fits.cid(), vec![])).await.expect("a block at the limit comes");
    Outcome::Kept
}

pub(super) async fn block_comes_under_the_address_asked_for(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if near.caps().fetch.is_none() {
        return no_fetch(&near).await;
    }
    let sha = |bytes: &[u8]| Code::Sha2_256.digest(bytes);
    let empty_node = &b""[..];
    let kinds = [
        (Cid::new_v1(RAW, Code::Blake3_256.digest(b"hashed otherwise")), &b"hashed otherwise"[..]),
        (Cid::new_v1(DAG_CBOR, sha(&[0xa0])), &[0xa0]),
        (Cid::new_v1(DAG_PB, sha(&[0x0a, 0])), &[0x0a, 0]),
        (Cid::new_v0(sha(empty_node)).expect("sha2-256"), empty_node),
    ];
    for (cid, bytes) in kinds {
        let block = Claim::new(cid, bytes.into()).check().expect("its bytes");
        put(&far, block.clone()).await;
        let fetched = kit.soon("a block", near.block(&cid, vec![])).await.expect("it comes");
        assert_eq!(fetched, block);
    }
    // The same bytes under another codec are another block: some have it too, none mixes them up.
    let other = put(&far, raw(&b"read otherwise"[..])).await;
    let cid = Cid::new_v1(DAG_CBOR, *other.cid().hash());
    let mut want = want(&kit, &other);
    (want.cid, want.timeout) = (cid, kit.quiet());
    if let Ok(fetched) = kit.soon("an answer", ask(&near, &want)).await {
        assert_eq!(fetched.claim.cid(), &cid);
    }
    Outcome::Kept
}

pub(super) async fn absent_block_ends_in_not_found(kit: Kit) -> Outcome {
    let [near, _far] = kit.pair().await;
    let Some(caps) = near.caps().fetch else { return no_fetch(&near).await };
    let mut want = want(&kit, &absent());
    if caps.discovery == Discovery::Routing {
        // Who searches everywhere cannot know that nobody has it.
        want.timeout = kit.quiet();
        let ended = refusal(kit.soon("an end", ask(&near, &want)).await);
        assert!(matches!(ended, ErrorKind::NotFound | ErrorKind::Timeout), "{ended:?}");
    } else {
        want.timeout = 2 * kit.patience();
        let ended = kit.soon("the answers of all who were asked", ask(&near, &want)).await;
        assert_eq!(refusal(ended), ErrorKind::NotFound);
    }
    Outcome::Kept
}

pub(super) async fn without_anybody_to_ask_it_says_so(kit: Kit) -> Outcome {
    let near = kit.node().await;
    let Some(caps) = near.caps().fetch else { return no_fetch(&near).await };
    let mut want = want(&kit, &absent());
    want.timeout = kit.quiet();
    let ended = refusal(kit.soon("an end", ask(&near, &want)).await);
    if caps.discovery == Discovery::Routing {
        // It may find somebody, far away.
        assert!(matches!(ended, ErrorKind::NotFound | ErrorKind::NoPeers | ErrorKind::Timeout), "{ended:?}");
        return Outcome::Kept;
    }
    assert_eq!(ended, ErrorKind::NoPeers);
    if caps.dag_in_one_request {
        let everything = WantDag::new(want.cid, kit.quiet());
        assert_eq!(walk(&kit, &near, &everything).await, (vec![], Some(ErrorKind::NoPeers)));
    }
    Outcome::Kept
}

pub(super) async fn provider_is_named(kit: Kit) -> Outcome {
    let members = kit.line(3).await;
    let near = &members[1];
    let Some(caps) = near.caps().fetch else { return no_fetch(near).await };
    let mut named = Vec::new();
    for (n, far) in [&members[0], &members[2]].into_iter().enumerate() {
        let block = put(far, raw(format!("content {n}"))).await;
        let fetched = kit.soon("a block", ask(near, &want(&kit, &block))).await.expect("it comes");
        named.push(fetched.from);
    }
    if !caps.names_provider {
        assert_eq!(named, [None, None], "it says that it cannot name who sent a block");
        return Outcome::Unsupported("naming the provider");
    }
    match near.caps().identity {
        Identity::Peer => {
            let members = [&members[0], &members[2]].map(|far| Some(Remote::Peer(far.peer_id())));
            assert_eq!(named, members);
        }
        _ => assert!(named[0].is_some() && named[1].is_some() && named[0] != named[1], "{named:?}"),
    }
    Outcome::Kept
}

pub(super) async fn wrong_bytes_are_blamed_and_avoided(kit: Kit) -> Outcome {
    let rights = [0, 1, 2, 3].map(|n| raw(format!("content {n}")));
    let lies = ["CONTENT 0", "content", "content 2 and more", ""].map(raw);
    let provider = Provider::lying(rights.iter().zip(&lies));
    let [near, liar] = watched_pair(&kit, &provider).await;
    let Some(caps) = near.caps().fetch else { return no_fetch(&near).await };
    let honest = kit.node().await;
    kit.link(&near, &honest).await;
    match liar.put_blocks(&[&rights[..], &lies].concat()).await {
        // A store of the wire's own may look at what it is given, and then there is no liar.
        Err(error) if !asks_host(&caps) => assert_eq!(error.kind(), ErrorKind::Integrity, "{error}"),
        put => put.expect("puts"),
    }
    honest.put_blocks(&rights).await.expect("puts");
    for right in &rights {
        match kit.soon("the right bytes", near.block(right.cid(), vec![liar.peer_id()])).await {
            Ok(fetched) => assert_eq!(&fetched, right, "the second provider delivers"),
            Err(error) => {
                assert!(!caps.names_provider, "the second provider was not asked: {error}");
                assert_eq!(error.kind(), ErrorKind::Integrity);
            }
        }
    }
    if !caps.names_provider {
        return Outcome::Unsupported("avoiding who is never named");
    }
    if asks_host(&caps) {
        let lied = provider.asked_for_blocks();
        assert!(lied <= rights.len(), "who lied is not asked again: {lied} times");
        near.blames_alone((lied > 0).then_some(&liar)).await;
    }
    Outcome::Kept
}

/// A node in the middle, and those around it, all of which have the block.
async fn star(kit: &Kit, block: &Block) -> (Member, Vec<(Member, Provider)>) {
    let (centre, mut around) = (kit.node().await, Vec::new());
    for _ in 0..4 {
        let provider = Provider::default();
        let member = kit.node_wrapped(provider.clone()).await;
        kit.link(&centre, &member).await;
        if member.caps().fetch.is_some() {
            put(&member, block.clone()).await;
        }
        around.push((member, provider));
    }
    (centre, around)
}

pub(super) async fn hinted_are_asked_first(kit: Kit) -> Outcome {
    let block = raw(&b"content"[..]);
    let (near, around) = star(&kit, &block).await;
    let Some(caps) = near.caps().fetch else { return no_fetch(&near).await };
    let mut want = want(&kit, &block);
    for (hinted, provider) in &around {
        // A hint that nobody knows does no harm.
        want.hints = vec![PeerId::random(), hinted.peer_id()];
        kit.soon("a block", ask(&near, &want)).await.expect("it comes");
        if caps.takes_hints && asks_host(&caps) {
            assert_eq!(provider.asked_for_blocks(), 1, "who was hinted at is asked");
        }
    }
    if caps.takes_hints { Outcome::Kept } else { Outcome::Unsupported("hints") }
}

pub(super) async fn avoided_are_not_asked(kit: Kit) -> Outcome {
    let block = raw(&b"content"[..]);
    let (near, around) = star(&kit, &block).await;
    let Some(caps) = near.caps().fetch else { return no_fetch(&near).await };
    let mut want = want(&kit, &block);
    if !caps.names_provider {
        let fetched = kit.soon("a block", ask(&near, &want)).await.expect("it comes");
        assert_eq!(fetched.from, None, "it says that it cannot name who sent a block");
        return Outcome::Unsupported("avoiding who is never named");
    }
    // One after the other, until nobody is left.
    for _ in &around {
        let fetched = kit.soon("a block", ask(&near, &want)).await.expect("it comes");
        let from = fetched.from.expect("it says that it names who sent a block");
        assert!(!want.avoid.contains(&from), "{from} is to be avoided");
        want.avoid.push(from);
    }
    want.hints = around.iter().map(|(member, _)| member.peer_id()).collect();
    want.timeout = kit.quiet();
    let answer = kit.soon("an answer", ask(&near, &want)).await;
    answer.expect_err("there is nobody left, and a hint does not outdo that");
    for (_, provider) in around.iter().filter(|_| asks_host(&caps)) {
        assert_eq!(provider.asked_for_blocks(), 1, "who is to be avoided is not asked");
    }
    Outcome::Kept
}

pub(super) async fn silent_provider_does_not_end_the_search(kit: Kit) -> Outcome {
    let limits = Limits { fetch_idle: kit.patience() / 30, ..Limits::default() };
    let near = kit.node_with(|builder| builder.limits(limits)).await;
    let provider = Provider::silent();
    let (silent, far) = (kit.node_wrapped(provider.clone()).await, kit.node().await);
    kit.link(&near, &silent).await;
    kit.link(&near, &far).await;
    let Some(caps) = near.caps().fetch else { return no_fetch(&near).await };
    if !asks_host(&caps) {
        return own_store(&kit, &near, &silent, &provider).await;
    }
    let block = put(&far, raw(&b"content"[..])).await;
    let mut want = want(&kit, &block);
    want.hints = vec![silent.peer_id()];
    let fetched = kit.soon("a block", ask(&near, &want)).await.expect("the second delivers");
    assert_eq!(fetched.claim.check().expect("the right bytes"), block);
    Outcome::Kept
}

pub(super) async fn timeout_is_kept(kit: Kit) -> Outcome {
    let near = patient(&kit).await;
    let around = [Provider::silent(), Provider::silent()].map(|silent| kit.node_wrapped(silent));
    let around = join_all(around).await;
    for member in &around {
        kit.link(&near, member).await;
    }
    let Some(caps) = near.caps().fetch else { return no_fetch(&near).await };
    let mut want = want(&kit, &absent());
    want.timeout = kit.quiet();
    let began = Instant::now();
    let ended = refusal(kit.soon("an end after the timeout", ask(&near, &want)).await);
    let took = began.elapsed();
    assert!(took < kit.patience() / 6, "it took {took:?} where {:?} were given", want.timeout);
    match asks_host(&caps) {
        true => assert_eq!(ended, ErrorKind::Timeout),
        false => assert!(matches!(ended, ErrorKind::Timeout | ErrorKind::NotFound), "{ended:?}"),
    }
    Outcome::Kept
}

pub(super) async fn dropped_fetch_frees_everything(kit: Kit) -> Outcome {
    let (near, provider) = (patient(&kit).await, Provider::silent());
    let mut limits = Limits::default();
    // One block at a time: what is not given back is missed at once.
    limits.serving_bytes = limits.block_bytes;
    let far = kit.open_wrapped(kit.builder().limits(limits), provider.clone()).await;
    kit.link(&near, &far).await;
    let Some(caps) = near.caps().fetch else { return no_fetch(&near).await };
    if !asks_host(&caps) {
        return own_store(&kit, &near, &far, &provider).await;
    }
    let block = put(&far, raw(&b"content"[..])).await;
    let mut want = want(&kit, &block);
    want.timeout = 2 * kit.patience();
    for _ in 0..3 {
        let mut fetch = Box::pin(ask(&near, &want));
        tokio::select! {
            biased;
            answer = &mut fetch => panic!("nobody answered, and yet there is {answer:?}"),
            () = kit.soon("a request", provider.busy_with(1)) => {}
        }
        drop(fetch);
        kit.soon("that the far end lets go", provider.busy_with(0)).await;
    }
    provider.speak();
    kit.soon("a block", ask(&near, &want)).await.expect("there is room again");
    Outcome::Kept
}

pub(super) async fn hundred_fetches_of_one_block_ask_once(kit: Kit) -> Outcome {
    let provider = Provider::default();
    let [near, far] = watched_pair(&kit, &provider).await;
    let Some(caps) = near.caps().fetch else { return no_fetch(&near).await };
    let block = put(&far, raw(&b"content"[..])).await;
    let uploads = provider.asked_for_blocks();
    let fetches = (0..100).map(|_| near.block(block.cid(), vec![]));
    for fetched in kit.soon("a block for each", join_all(fetches)).await {
        assert_eq!(fetched.expect("it comes"), block);
    }
    let asked = provider.asked_for_blocks() - uploads;
    assert_eq!(asked, usize::from(asks_host(&caps)), "it crosses the wire once");
    Outcome::Kept
}

pub(super) async fn many_blocks_come_at_once(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if near.caps().fetch.is_none() {
        return no_fetch(&near).await;
    }
    let blocks: Vec<_> = (0..250).map(|n| raw(format!("content {n}"))).collect();
    far.put_blocks(&blocks).await.expect("puts");
    let wants: Vec<_> = blocks.iter().map(|block| want(&kit, block)).collect();
    let fetches = wants.iter().map(|want| ask(&near, want));
    for (fetched, block) in kit.soon("all of them", join_all(fetches)).await.into_iter().zip(&blocks) {
        assert_eq!(&fetched.expect("it comes").claim.check().expect("the right bytes"), block);
    }
    Outcome::Kept
}

pub(super) async fn served_memory_is_bounded(kit: Kit) -> Outcome {
    let (near, provider) = (kit.node().await, Provider::default());
    let far = kit.open_wrapped(kit.builder().limits(small_blocks(2)), provider.clone()).await;
    kit.link(&near, &far).await;
    let Some(caps) = near.caps().fetch else { return no_fetch(&near).await };
    if !asks_host(&caps) {
        return own_store(&kit, &near, &far, &provider).await;
    }
    // There is memory for two at once: the others wait, and each gives back what it took.
    let blocks = [0, 1, 2, 3, 4, 5, 6, 7].map(|n| raw(vec![n; far.limits().block_bytes]));
    far.put_blocks(&blocks).await.expect("puts");
    let fetches = blocks.iter().map(|block| near.block(block.cid(), vec![]));
    for (fetched, block) in kit.soon("all of them", join_all(fetches)).await.iter().zip(&blocks) {
        assert_eq!(fetched.as_ref().expect("it comes"), block);
    }
    Outcome::Kept
}

pub(super) async fn provider_that_goes_ends_the_fetch(kit: Kit) -> Outcome {
    let provider = Provider::silent();
    let [near, far] = watched_pair(&kit, &provider).await;
    let Some(caps) = near.caps().fetch else { return no_fetch(&near).await };
    if !asks_host(&caps) {
        return own_store(&kit, &near, &far, &provider).await;
    }
    let block = put(&far, raw(&b"content"[..])).await;
    let mut want = want(&kit, &block);
    want.timeout = 2 * kit.patience();
    let mut fetch = pin!(ask(&near, &want));
    tokio::select! {
        biased;
        answer = &mut fetch => panic!("nobody answered, and yet there is {answer:?}"),
        () = kit.soon("a request", provider.busy_with(1)) => {}
    }
    kit.soon("the end of a node", far.close()).await.expect("closes");
    let answer = kit.soon("word that the provider is gone", fetch).await;
    assert_eq!(refusal(answer), ErrorKind::Unreachable);
    Outcome::Kept
}

pub(super) async fn provided_block_is_served_after_provide(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if near.caps().fetch.is_none() {
        return no_fetch(&near).await;
    }
    let blocks = [&b"content"[..], b"more content", b"still more"].map(raw);
    far.store().put(&blocks).await.expect("stores");
    let cids = blocks.each_ref().map(|block| *block.cid());
    kit.soon("that they are provided", far.fetch().provide(&cids)).await.expect("provides");
    kit.soon("that they still are", far.fetch().provide(&cids)).await.expect("provides");
    for block in &blocks {
        let fetched = kit.soon("a block", near.block(block.cid(), vec![])).await.expect("it comes");
        assert_eq!(fetched, *block);
    }
    Outcome::Kept
}

pub(super) async fn absent_block_is_not_provided(kit: Kit) -> Outcome {
    let far = kit.node().await;
    if far.caps().fetch.is_none() {
        return no_fetch(&far).await;
    }
    // Another than is sought elsewhere: where daemons are shared, they remember who said that it has it.
    let block = raw(&b"not provided yet"[..]);
    let there = put(&far, raw(&b"provided"[..])).await;
    let cids = [*there.cid(), *block.cid()];
    let provide = async || kit.soon("an answer", far.fetch().provide(&cids)).await;
    assert_eq!(refusal(provide().await), ErrorKind::NotFound);
    put(&far, block.clone()).await;
    provide().await.expect("what it has is provided");
    Outcome::Kept
}

pub(super) async fn withdraw_ends_it(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    let Some(caps) = near.caps().fetch else { return no_fetch(&near).await };
    let [block, stays] = [put(&far, raw(&b"content"[..])).await, put(&far, raw(&b"stays"[..])).await];
    kit.soon("that both are provided", far.fetch().provide(&[*block.cid(), *stays.cid()]))
        .await
        .expect("provides");
    let withdrawn = [*block.cid(), *raw(&b"never provided"[..]).cid()];
    let delete = async || assert!(far.store().delete(block.cid()).await.expect("deletes"));
    if caps.serving == Serving::FromOwnStore {
        // Else its node may hand it over again.
        delete().await;
    }
    kit.soon("that it is withdrawn", far.fetch().withdraw(&withdrawn)).await.expect("withdraws");
    kit.collect_garbage().await;
    let other = kit.soon("the other", near.block(stays.cid(), vec![])).await.expect("it comes");
    assert_eq!(other, stays);
    let mut want = want(&kit, &block);
    if caps.serving != Serving::FromOwnStore {
        // What the host has is served, announced or not, for as long as the host has it.
        kit.soon("a block", ask(&near, &want)).await.expect("it comes");
        delete().await;
    }
    want.timeout = kit.quiet();
    let ended = refusal(kit.soon("an end", ask(&near, &want)).await);
    assert!(matches!(ended, ErrorKind::NotFound | ErrorKind::Timeout), "{ended:?}");
    Outcome::Kept
}

pub(super) async fn providers_can_be_dialled(kit: Kit) -> Outcome {
    let members = kit.line(3).await;
    let near = &members[1];
    let Some(caps) = near.caps().fetch else { return no_fetch(near).await };
    let find = async |cid: &Cid, limit| {
        kit.soon("who has it", near.fetch().providers(cid, limit)).await as Result<Vec<PeerAddr>>
    };
    if caps.discovery == Discovery::None {
        let found = find(absent().cid(), 10).await;
        assert!(found.is_ok_and(|found| found.is_empty()), "it says that it finds nobody");
        return Outcome::Unsupported("finding providers");
    }
    let block = put(&members[0], raw(&b"content"[..])).await;
    let found = find(block.cid(), 10).await.expect("asks");
    if near.caps().identity != Identity::Peer {
        // One daemon may stand for many who have it.
        assert!(!found.is_empty(), "somebody has it");
        put(&members[2], block.clone()).await;
        assert_eq!(find(block.cid(), 1).await.expect("asks").len(), 1, "no more than were asked for");
        assert!(find(absent().cid(), 10).await.expect("asks").is_empty(), "nobody has it");
        return Outcome::Kept;
    }
    assert_eq!(found.len(), 1, "{found:?}");
    let stranger = kit.node().await;
    if near.caps().dials {
        kit.soon("a dial", stranger.connect(&found[0])).await.expect("where it is said to be, it is");
        assert!(stranger.is_linked(&members[0].peer_id()).await);
    }
    put(&members[2], block.clone()).await;
    assert_eq!(find(block.cid(), 10).await.expect("asks").len(), 2);
    assert_eq!(find(block.cid(), 1).await.expect("asks").len(), 1, "no more than were asked for");
    assert!(find(absent().cid(), 10).await.expect("asks").is_empty(), "nobody has it");
    Outcome::Kept
}

/// A node whose own limits end no fetch, so that only the transport can.
async fn patient(kit: &Kit) -> Member {
    let hour = Duration::from_secs(3_600);
    let limits = Limits { fetch_deadline: hour, fetch_idle: hour, ..Limits::default() };
    kit.node_with(|builder| builder.limits(limits)).await
}

async fn put(member: &Member, block: Block) -> Block {
    member.put_blocks(std::slice::from_ref(&block)).await.expect("puts");
    block
}

/// A block, to be there when the case gives up.
fn want(kit: &Kit, block: &Block) -> Want {
    Want::new(*block.cid(), kit.patience())
}

/// Asks the transport itself, without the node's own deadlines and second tries.
async fn ask(member: &Member, want: &Want) -> Result<Fetched> {
    member.fetch().block(want).await
}
