//! Fetching whole DAGs: each block checked as it lands, resumed where it broke off, within deadline and idle limit.

use std::time::Duration;

use carrick_core::{
    Block, Bytes, Cid, DAG_CBOR, Error, ErrorKind, GetOptions, Node, Progress, Received, ServedStream,
    WantDag,
};
use futures::StreamExt as _;
use tokio::time::Instant;

use crate::support::{Does, End, Shared, Wire, linking, on, on_wires, raw, remote, stored, within};

async fn node(wire: &Wire) -> Node {
    on(wire).open().await.expect("opens")
}

/// A root over two branches of three leaves each, root first.
fn tree() -> Vec<Block> {
    let leaves: Vec<_> = (0..6_u8).map(|n| raw(vec![n; 100])).collect();
    let cids: Vec<Cid> = leaves.iter().map(|leaf| *leaf.cid()).collect();
    let (left, right) = (linking("left", &cids[..3]), linking("right", &cids[3..]));
    let root = linking("root", &[*left.cid(), *right.cid()]);
    [vec![root, left, right], leaves].concat()
}

fn sends(blocks: &[Block]) -> Vec<(Cid, Bytes)> {
    blocks.iter().map(|block| (*block.cid(), block.bytes().clone())).collect()
}

fn want(root: &Block) -> WantDag {
    WantDag::new(*root.cid(), Duration::from_secs(10))
}

async fn collect(node: &Node, want: WantDag) -> (Vec<Received>, Option<Error>) {
    let mut blocks = match node.fetch_dag(want).await {
        Ok(blocks) => blocks,
        Err(error) => return (vec![], Some(error)),
    };
    let mut came = Vec::new();
    while let Some(received) = within(blocks.next()).await {
        match received {
            Ok(received) => came.push(received),
            Err(error) => return (came, Some(error)),
        }
    }
    (came, None)
}

#[tokio::test(start_paused = true)]
async fn a_dag_comes_in_one_request_parents_first_and_is_not_stored() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let tree = tree();
    wire.serves(remote(1), &tree);
    let (came, error) = collect(&node, want(&tree[0])).await;
    assert!(error.is_none());
    let blocks: Vec<_> = came.iter().map(|received| received.block.clone()).collect();
    assert_eq!(blocks, tree);
    assert!(came.iter().all(|received| received.from == Some(remote(1))));
    assert_eq!((wire.dags().len(), stored(&**node.store()).await.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_left_out_and_depth_is_kept() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let tree = tree();
    wire.serves(remote(1), &tree);
    let mut shallow = want(&tree[0]);
    shallow.depth = 1;
    let (came, error) = collect(&node, shallow).await;
    assert_eq!((came.len(), error.is_none()), (3, true));
    let mut have = want(&tree[0]);
    have.have = vec![*tree[1].cid()];
    let (came, error) = collect(&node, have).await;
    assert_eq!((came.len(), error.is_none()), (5, true));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_sends_what_nobody_asked_for_is_blamed_and_left() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let tree = tree();
    let mut too_many = sends(&tree[..4]);
    too_many.push((*raw("unasked").cid(), "unasked".into()));
    wire.provider(remote(1), Does::Script(too_many, End::Quietly));
    wire.serves(remote(2), &tree);
    let (came, error) = collect(&node, want(&tree[0])).await;
    assert!(error.is_none());
    assert_eq!(came.len(), tree.len(), "each once");
    assert_eq!((node.counter("misdeed_spam"), wire.dags()[1].avoid.clone()), (1, vec![remote(1)]));
}

#[tokio::test(start_paused = true)]
async fn a_provider_of_wrong_bytes_is_blamed_and_left() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let tree = tree();
    let mut lies = sends(&tree);
    lies[4].1 = "wrong".into();
    wire.provider(remote(1), Does::Script(lies, End::Quietly));
    wire.serves(remote(2), &tree);
    let got = node.get(tree[0].cid(), GetOptions::default()).await.expect("got");
    assert_eq!(got.blocks, 9);
    assert_eq!(node.counter("misdeed_wrong_bytes"), 1);
    let sources: Vec<_> = got.sources.iter().map(|(who, _)| who.clone()).collect();
    assert!(sources.contains(&remote(1)) && sources.contains(&remote(2)));
    assert_eq!(got.sources.iter().map(|(_, bytes)| bytes).sum::<u64>(), got.bytes);
}

#[tokio::test(start_paused = true)]
async fn when_all_lie_the_error_says_so() {
    let wire = Wire::new();
    let node = node(&wire).await;
    wire.provider(remote(1), Does::Lie);
    wire.provider(remote(2), Does::Lie);
    let tree = tree();
    let error = node.get(tree[0].cid(), GetOptions::default()).await.expect_err("lies");
    assert!(matches!(error.kind(), ErrorKind::Integrity | ErrorKind::NoPeers), "{error}");
    assert!(stored(&**node.store()).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_early_is_an_error_and_what_came_is_good() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let tree = tree();
    for (end, kind) in [
        (End::Quietly, ErrorKind::NotFound),
        (End::With(ErrorKind::Unreachable), ErrorKind::Unreachable),
        (End::Never, ErrorKind::Timeout),
    ] {
        wire.no_providers();
        wire.provider(remote(1), Does::Script(sends(&tree[..4]), end));
        let (came, error) = collect(&node, want(&tree[0])).await;
        assert_eq!((came.len(), error.expect("an error").kind()), (4, kind));
    }
}

#[tokio::test(start_paused = true)]
async fn get_fetches_only_what_is_missing() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let tree = tree();
    node.put_blocks(&[tree[0].clone(), tree[1].clone(), tree[3].clone()]).await.expect("put");
    wire.serves(remote(1), &tree);
    let get = node.get(tree[0].cid(), GetOptions::default());
    let progress = get.progress();
    let got = get.await.expect("got");
    let Progress { blocks, bytes, .. } = *progress.borrow();
    assert_eq!((got.blocks, got.bytes), (blocks, bytes));
    assert_eq!(blocks, 6);
    assert_eq!(stored(&**node.store()).await.len(), 9);
    let again = node.get(tree[0].cid(), GetOptions::default()).await.expect("got");
    assert_eq!((again.blocks, wire.dags().len()), (0, 1), "nobody is asked for what is there");
}

#[tokio::test(start_paused = true)]
async fn get_goes_on_where_it_broke_off_and_what_came_stays() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let tree = tree();
    wire.provider(remote(1), Does::Script(sends(&tree[..4]), End::With(ErrorKind::Unreachable)));
    node.get(tree[0].cid(), GetOptions::default()).await.expect_err("broke off");
    assert_eq!(stored(&**node.store()).await.len(), 4, "what came is kept");
    wire.no_providers();
    wire.serves(remote(2), &tree);
    let got = node.get(tree[0].cid(), GetOptions::default()).await.expect("got");
    assert_eq!(got.blocks, 5);
}

#[tokio::test(start_paused = true)]
async fn get_keeps_its_deadline_and_keeps_what_came() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let tree = tree();
    wire.provider(remote(1), Does::Script(sends(&tree[..4]), End::Never));
    wire.disobey();
    let options = GetOptions { deadline: Some(Duration::from_secs(3)), ..GetOptions::default() };
    let began = Instant::now();
    let error = within(node.get(tree[0].cid(), options)).await.expect_err("stalls");
    assert_eq!((error.kind(), began.elapsed()), (ErrorKind::Timeout, Duration::from_secs(3)));
    assert!(error.detail().contains("4 blocks"), "{error}");
    assert_eq!(stored(&**node.store()).await.len(), 4);
}

/// Also where the transport keeps no idle limit of its own.
#[tokio::test(start_paused = true)]
async fn get_keeps_its_idle_limit() {
    for obeys in [true, false] {
        let wire = Wire::new();
        let node = node(&wire).await;
        let tree = tree();
        wire.provider(remote(1), Does::Stall);
        if !obeys {
            wire.disobey();
        }
        let options = GetOptions { idle: Some(Duration::from_secs(5)), ..GetOptions::default() };
        let began = Instant::now();
        let error = within(node.get(tree[0].cid(), options)).await.expect_err("stalls");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert_eq!(began.elapsed(), Duration::from_secs(5), "obeys: {obeys}");
    }
}

#[tokio::test(start_paused = true)]
async fn get_works_block_by_block_where_no_wire_brings_more() {
    let wire = Wire::new().singly();
    let node = node(&wire).await;
    let tree = tree();
    wire.serves(remote(1), &tree);
    let got = node.get(tree[0].cid(), GetOptions::default()).await.expect("got");
    assert_eq!((got.blocks, wire.requests(), wire.dags().len()), (9, 9, 0));
    assert_eq!(got.sources, [(remote(1), got.bytes)]);
    let error = node.fetch_dag(want(&tree[0])).await.err().expect("unsupported");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint().is_some());
}

/// The idle limit is for the next block, not for each from when it was asked for; and one block may take its part of the
/// deadline, however long a fetch takes otherwise.
#[tokio::test(start_paused = true)]
async fn a_slow_line_brings_a_dag_block_by_block() {
    for seconds in [2, 9] {
        let wire = Wire::new().singly();
        let node = node(&wire).await;
        let leaves: Vec<_> = (0..20_u8).map(|n| raw(vec![n; 100])).collect();
        let root = linking("root", &leaves.iter().map(|leaf| *leaf.cid()).collect::<Vec<_>>());
        wire.serves(remote(1), leaves.iter().chain([&root]));
        wire.brings(Duration::from_secs(seconds)).await;
        let options = GetOptions { deadline: Some(Duration::from_secs(200)), ..GetOptions::default() };
        let got = within(node.get(root.cid(), options)).await.expect("it goes on");
        assert_eq!((got.blocks, got.time), (21, Duration::from_secs(21 * seconds)));
    }
}

#[tokio::test(start_paused = true)]
async fn get_keeps_its_limits_block_by_block_too() {
    let wire = Wire::new().singly();
    let node = node(&wire).await;
    let tree = tree();
    wire.serves(remote(1), &tree);
    wire.brings(Duration::from_secs(5)).await;
    for (deadline, idle, ends) in [(60, 4, 4), (3, 10, 3)] {
        let [deadline, idle] = [deadline, idle].map(|seconds| Some(Duration::from_secs(seconds)));
        let options = GetOptions { deadline, idle, ..GetOptions::default() };
        let began = Instant::now();
        let error = node.get(tree[0].cid(), options).await.expect_err("late");
        assert_eq!((error.kind(), began.elapsed()), (ErrorKind::Timeout, Duration::from_secs(ends)));
    }
}

#[tokio::test(start_paused = true)]
async fn get_asks_a_wire_of_single_blocks_for_what_no_other_has() {
    let (whole, single) = (Wire::new(), Wire::new().singly());
    let node = on_wires(&[("whole", &whole), ("single", &single)]).open().await.expect("opens");
    let tree = tree();
    whole.provider(remote(1), Does::Script(sends(&tree[..4]), End::With(ErrorKind::Unreachable)));
    single.serves(remote(2), &tree);
    let got = within(node.get(tree[0].cid(), GetOptions::default())).await.expect("got");
    assert_eq!((got.blocks, single.requests()), (9, 5), "what came is asked for once");
    let absent = *raw("nowhere").cid();
    let error = within(node.get(&absent, GetOptions::default())).await.expect_err("nobody has it");
    assert_eq!((error.kind(), error.transport()), (ErrorKind::NotFound, None), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_get_of_what_nobody_has_fails_with_the_stage() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let cid = *raw("nowhere").cid();
    let error = node.get(&cid, GetOptions::default()).await.expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::NoPeers);
    wire.serves(remote(1), []);
    let error = node.get(&cid, GetOptions::default()).await.expect_err("nobody has it");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_deep_dag_comes_whole() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let mut chain = vec![raw("the end")];
    for n in 0..2_000 {
        let below = *chain.last().expect("one").cid();
        chain.push(linking(&n.to_string(), &[below]));
    }
    wire.serves(remote(1), &chain);
    let root = *chain.last().expect("one").cid();
    let got = node.get(&root, GetOptions::default()).await.expect("got");
    assert_eq!(got.blocks, 2_001);
}

#[tokio::test(start_paused = true)]
async fn more_roots_than_allowed_are_refused_on_both_sides() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let mut many = want(&raw("x"));
    many.roots = (0..65_u8).map(|n| *raw(vec![n]).cid()).collect();
    let error = node.fetch_dag(many.clone()).await.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let first = wire.host().dag(remote(1), many).next().await.expect("an answer");
    assert_eq!(first.expect_err("refused").kind(), ErrorKind::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_walk_is_served_breadth_first_without_what_the_asker_has_and_within_its_bytes() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let tree = tree();
    node.put_blocks(&tree).await.expect("put");
    let walk = |want: WantDag| {
        let stream = wire.host().dag(remote(1), want);
        async move {
            let mut cids = Vec::new();
            let mut stream = stream;
            while let Some(served) = stream.next().await {
                match served {
                    Ok((cid, _)) => cids.push(cid),
                    Err(error) => return (cids, Some(error.kind())),
                }
            }
            (cids, None)
        }
    };
    let all: Vec<Cid> = tree.iter().map(|block| *block.cid()).collect();
    assert_eq!(walk(want(&tree[0])).await, (all.clone(), None));
    let mut have = want(&tree[0]);
    have.have = vec![*tree[1].cid()];
    assert_eq!(walk(have).await, ([&all[..1], &all[2..3], &all[6..]].concat(), None));
    let mut little = want(&tree[0]);
    little.limit_bytes = tree[0].size() as u64;
    assert_eq!(walk(little).await, (all[..1].to_vec(), Some(ErrorKind::TooLarge)));
    node.store().delete(&all[4]).await.expect("deletes");
    assert_eq!(walk(want(&tree[0])).await, (all[..4].to_vec(), Some(ErrorKind::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn serving_memory_is_bounded_and_given_back() {
    let wire = Wire::new();
    let limits = crate::support::limits(|l| l.serving_bytes = 4 << 20);
    let node = on(&wire).limits(limits).open().await.expect("opens");
    let block = raw(vec![1; 2 << 20]);
    node.put_blocks(std::slice::from_ref(&block)).await.expect("put");
    let host = wire.host();
    let first = host.block(&remote(1), block.cid()).await.expect("serves").expect("has it");
    let _second = host.block(&remote(2), block.cid()).await.expect("serves").expect("has it");
    let asked = Instant::now();
    let error = host.block(&remote(3), block.cid()).await.expect_err("full");
    assert_eq!((error.kind(), node.counter("serve_busy")), (ErrorKind::Busy, 1));
    assert!(asked.elapsed() < node.limits().fetch_idle, "the asker still listens");
    drop(first);
    assert!(host.block(&remote(3), block.cid()).await.expect("serves").is_some());
}

#[tokio::test(start_paused = true)]
async fn one_asker_who_does_not_read_leaves_serving_memory_for_the_others() {
    let wire = Wire::new();
    let node = on(&wire).open().await.expect("opens");
    let block = raw(vec![1; 2 << 20]);
    node.put_blocks(std::slice::from_ref(&block)).await.expect("put");
    let host = wire.host();
    let mut held = Vec::new();
    let error = loop {
        match host.block(&remote(1), block.cid()).await {
            Ok(served) => held.extend(served),
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), held.len()), (ErrorKind::Busy, 4), "a quarter of 32 MiB");
    assert!(host.block(&remote(2), block.cid()).await.expect("serves").is_some());
}

#[tokio::test(start_paused = true)]
async fn leaves_that_the_asker_has_are_not_read() {
    let (wire, store) = (Wire::new(), Shared::default());
    let node = on(&wire).store(store.arc()).open().await.expect("opens");
    let (a, b) = (raw("a"), raw("b"));
    let root = linking("root", &[*a.cid(), *b.cid()]);
    node.put_blocks(&[root.clone(), a.clone(), b.clone()]).await.expect("put");
    // Reading it would fail, so it is seen.
    store.damage(*a.cid());
    let mut want = WantDag::new(*root.cid(), Duration::from_secs(1));
    want.have = vec![*a.cid()];
    let sent: Vec<_> = wire.host().dag(remote(1), want).map(|step| step.map(|(cid, _)| cid)).collect().await;
    let sent: Vec<_> = sent.into_iter().collect::<Result<_, _>>().expect("serves");
    assert_eq!(sent, [*root.cid(), *b.cid()]);
}

/// How a walk went: how many blocks came, and the error it ended with.
async fn walked(mut walk: ServedStream) -> (usize, Option<ErrorKind>) {
    let mut blocks = 0;
    while let Some(step) = walk.next().await {
        match step {
            Ok(_) => blocks += 1,
            Err(error) => return (blocks, Some(error.kind())),
        }
    }
    (blocks, None)
}

#[tokio::test(start_paused = true)]
async fn what_walks_remember_is_bounded_for_one_asker_and_for_all() {
    let wire = Wire::new();
    let limits = crate::support::limits(|l| l.walk_blocks = 8_192);
    let node = on(&wire).limits(limits).open().await.expect("opens");
    let tree = tree();
    let leaves: Vec<Block> = (0..2_048_u32).map(|n| raw(n.to_be_bytes().to_vec())).collect();
    let wide = linking("wide", &leaves.iter().map(|leaf| *leaf.cid()).collect::<Vec<_>>());
    node.put_blocks(&[&tree[..], &leaves[..], std::slice::from_ref(&wide)].concat()).await.expect("put");
    let host = wire.host();
    // A walk that was begun and is not read: it remembers the tree.
    let begun = |peer: u8| {
        let mut walk = host.dag(remote(peer), want(&tree[0]));
        async move { walk.next().await.expect("not the end").map(|_| walk) }
    };
    let (first, second) = (begun(1).await.expect("begins"), begun(1).await.expect("begins"));
    assert_eq!(begun(1).await.err().map(|error| error.kind()), Some(ErrorKind::Busy), "a quarter");
    assert_eq!(node.counter("serve_busy"), 1);
    // What it could remember, a quarter, is sent before it says that there is more.
    assert_eq!(walked(host.dag(remote(2), want(&wide))).await, (2_048, Some(ErrorKind::Busy)));
    let mut held = vec![first, second];
    for peer in 2..5 {
        held.push(begun(peer).await.expect("begins"));
        held.push(begun(peer).await.expect("begins"));
    }
    assert_eq!(begun(5).await.err().map(|error| error.kind()), Some(ErrorKind::Busy), "all of it");
    drop(held);
    assert_eq!(walked(host.dag(remote(1), want(&tree[0]))).await, (tree.len(), None));
}

#[tokio::test(start_paused = true)]
async fn a_block_whose_links_cannot_be_read_is_served_like_a_leaf() {
    let wire = Wire::new();
    let node = node(&wire).await;
    let (unknown, malformed) = (Block::new(0x0129, r#"{"dag": "json"}"#), Block::new(DAG_CBOR, "no cbor"));
    let root = linking("root", &[*unknown.cid(), *malformed.cid()]);
    node.put_blocks(&[root.clone(), unknown.clone(), malformed.clone()]).await.expect("put");
    assert_eq!(walked(wire.host().dag(remote(1), want(&root))).await, (3, None));
    let mut having = want(&root);
    having.have = vec![*unknown.cid(), *malformed.cid()];
    assert_eq!(walked(wire.host().dag(remote(1), having)).await, (1, None));
}
