//! Content: asked for over a wire that loses, delays, breaks and parts.

use std::time::Duration;

use carrick::conformance::faulty::{Faults, Faulty};
use carrick::dag::Layout;
use carrick::{Block, ErrorKind, GetOptions, Node, RAW};
use tokio::time::Instant;

use crate::nodes::{Wire, link, on_both};

/// So many blocks that no two tests share, under one root.
async fn file(at: &Node) -> carrick::Cid {
    let content: Vec<u8> = (0..3).flat_map(|n: u8| vec![n; 1 << 20]).collect();
    at.put(&content[..], Layout::default()).await.expect("puts").cid
}

async fn block(at: &Node) -> Block {
    let block = Block::new(RAW, &b"content"[..]);
    at.put_blocks(std::slice::from_ref(&block)).await.expect("puts");
    block
}

async fn refusal(asker: &Node, block: &Block) -> ErrorKind {
    asker.block(block.cid(), vec![]).await.expect_err("it cannot come").kind()
}

#[test]
fn a_round_trip_takes_the_delay_twice() {
    on_both(async |wire| {
        let faulty = Faulty::new(1);
        let [a, b] = wire.pair(&faulty).await;
        let (root, single) = (file(&a).await, block(&a).await);
        faulty.change(|faults| faults.delay = Duration::from_millis(40)).expect("in range");
        let kept = |began: Instant, what: &str| {
            let took = began.elapsed().as_millis();
            assert!(took >= 80 && (took == 80 || matches!(wire, Wire::Quic)), "{what} took {took} ms");
        };
        let began = Instant::now();
        assert_eq!(b.block(single.cid(), vec![]).await.expect("it comes"), single);
        kept(began, "a block");
        let began = Instant::now();
        b.get(&root, GetOptions::default()).await.expect("it comes");
        kept(began, "a file");
    });
}

#[test]
fn a_lost_request_is_not_answered() {
    on_both(async |wire| {
        let faulty = Faulty::new(1);
        let [a, b] = wire.pair(&faulty).await;
        let (root, single) = (file(&a).await, block(&a).await);
        faulty.change(|faults| faults.loss = 1.0).expect("in range");
        assert_eq!(refusal(&b, &single).await, ErrorKind::Timeout);
        assert_eq!(
            b.get(&root, GetOptions::default()).await.expect_err("it cannot come").kind(),
            ErrorKind::Timeout
        );
        assert!(a.counter("faulty_lost") >= 2);
        faulty.clear();
        assert_eq!(b.block(single.cid(), vec![]).await.expect("it comes"), single);
    });
}

/// Round the asker alone, and round the provider alone.
#[test]
fn a_broken_block_is_noticed_and_the_next_provider_asked() {
    let at_asker: fn(&mut Faults) = |faults| faults.corrupt = 1.0;
    let at_provider: fn(&mut Faults) = |faults| faults.corrupt_served = 1.0;
    on_both(async |wire| {
        for (number, round_asker, change) in [(0, true, at_asker), (10, false, at_provider)] {
            let faulty = Faulty::new(1);
            let (mut a, mut b) = (wire.builder(number + 1), wire.builder(number + 2));
            match round_asker {
                true => b = faulty.round(b),
                false => a = faulty.round(a),
            }
            let (a, b) = (a.open().await.expect("opens"), b.open().await.expect("opens"));
            link(&b, &a).await;
            let (root, single) = (file(&a).await, block(&a).await);
            if round_asker { faulty.change_from(a.peer_id(), change) } else { faulty.change(change) }
                .expect("in range");
            assert_eq!(refusal(&b, &single).await, ErrorKind::Integrity);
            let c = wire.plain(number + 3).await;
            file(&c).await;
            link(&b, &c).await;
            b.get(&root, GetOptions::default()).await.expect("another one has it");
            assert!(
                b.counter("misdeed_wrong_bytes") >= 1,
                "{:?}",
                b.status().await.expect("status").counters
            );
        }
    });
}

#[test]
fn a_stalled_answer_comes_when_it_moves_again() {
    on_both(async |wire| {
        let faulty = Faulty::new(1);
        let [a, b] = wire.pair(&faulty).await;
        let single = block(&a).await;
        faulty.change(|faults| faults.stall = true).expect("in range");
        let asked = b.block(single.cid(), vec![]);
        let moves = async {
            // The request is at the provider, or on its way there.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            faulty.clear();
        };
        let (came, ()) = tokio::join!(biased; asked, moves);
        assert_eq!(came.expect("it comes"), single);
        faulty.change(|faults| faults.stall = true).expect("in range");
        assert_eq!(refusal(&b, &Block::new(RAW, &b"another"[..])).await, ErrorKind::Timeout);
    });
}

#[test]
fn nobody_is_asked_across_a_partition_and_nobody_answers() {
    on_both(async |wire| {
        let faulty = Faulty::new(1);
        let [a, b] = wire.pair(&faulty).await;
        let c = wire.plain(3).await;
        link(&c, &b).await;
        let (of_a, of_b) = (block(&a).await, Block::new(RAW, &b"of b"[..]));
        b.put_blocks(std::slice::from_ref(&of_b)).await.expect("puts");
        faulty.partition(&[&[b.peer_id()]]);
        assert_eq!(refusal(&b, &of_a).await, ErrorKind::NoPeers);
        // Only the provider is parted here, and the asker does not know.
        assert_eq!(refusal(&c, &of_b).await, ErrorKind::Timeout);
        faulty.heal();
        assert_eq!(b.block(of_a.cid(), vec![]).await.expect("it comes"), of_a);
        assert_eq!(c.block(of_b.cid(), vec![]).await.expect("it comes"), of_b);
    });
}
