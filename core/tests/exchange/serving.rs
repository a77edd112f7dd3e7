//! Requests as a node takes them.

use tokio::io::ReadHalf;

use super::*;

/// Sends a request to a node and answers how it takes it, and what it answered.
async fn asked(host: &Host, request: &[u8]) -> (Result<(), Broken>, Vec<u8>) {
    let (mut near, far) = tokio::io::duplex(WINDOW);
    let (asker, mut answer) = (stranger(), vec![]);
    let (request_half, reply) = ByteReply::split(far);
    let asking = async {
        near.write_all(request).await.expect("writes");
        near.read_to_end(&mut answer).await.expect("reads");
    };
    let (served, ()) = soon(async { tokio::join!(serve(host, &asker, request_half, reply), asking) }).await;
    (served, answer)
}

/// A request on its way to a node: the asker's end, and what the node reads and writes.
async fn sent(request: &[u8]) -> (DuplexStream, ReadHalf<DuplexStream>, ByteReply<DuplexStream>) {
    let (mut near, far) = tokio::io::duplex(WINDOW);
    near.write_all(request).await.expect("writes");
    let (half, reply) = ByteReply::split(far);
    (near, half, reply)
}

#[tokio::test(start_paused = true)]
async fn requests_that_break_the_format_are_the_askers_fault() {
    let (_node, host) = node(short()).await;
    let cid = cids(&tree(0, 0))[0];
    let hostile = [
        ("4 GiB", [0xff, 0xff, 0xff, 0xff, Kind::AskDag as u8].to_vec()),
        ("empty", vec![0, 0, 0, 0, 0]),
        ("unknown", vec![0, 0, 0, 1, 0x01]),
        ("an answer", frame(Kind::Present, &[]).to_vec()),
        ("no cid", frame(Kind::AskHas, b"no cid").to_vec()),
        ("more than a cid", frame(Kind::AskHas, &[&cid.to_bytes()[..], b"x"].concat()).to_vec()),
        ("short", frame(Kind::AskBlock, &[0, 0]).to_vec()),
        ("no map", frame(Kind::AskDag, &[0xa0]).to_vec()),
    ];
    for (what, request) in hostile {
        let (served, answer) = asked(&host, &request).await;
        assert!(served.is_err() && answer.is_empty(), "{what}");
    }
    assert_eq!(asked(&host, &ask_has_frame(&cid)).await, (Ok(()), frame(Kind::Absent, &[]).to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_comes_whole_is_given_up() {
    let (node, host) = node(short()).await;
    let request = ask_has_frame(tree(0, 0)[0].cid());
    for (nth, part) in (1..).zip([&request[..0], &request[..3], &request[..HEAD_BYTES + 1]]) {
        let (served, answer) = asked(&host, part).await;
        assert!(served.is_ok() && answer.is_empty());
        assert_eq!(node.counter("serve_stalled"), nth);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_read_is_given_up_and_its_memory_free() {
    let mut few = short();
    few.serving_bytes = few.block_bytes;
    let (node, host) = node(few.clone()).await;
    let block = Block::new(RAW, vec![1; few.block_bytes]);
    node.put_blocks(std::slice::from_ref(&block)).await.expect("stores");
    let request = AskBlock { cid: *block.cid(), max_bytes: u32::MAX, priority: 0 }.encode();
    let (_unread, half, reply) = sent(&request).await;
    soon(serve(&host, &stranger(), half, reply)).await.expect("a good request");
    assert_eq!(node.counter("serve_stalled"), 1);
    let (_, answer) = asked(&host, &request).await;
    assert_eq!(answer, block_frame(&block), "there is room again");
}

/// A block takes longer on its way than anybody waits for serving memory, of which there is enough for one.
#[tokio::test(start_paused = true)]
async fn a_slow_asker_gets_all_of_a_dag() {
    let mut few = short();
    few.serving_bytes = few.block_bytes;
    let (node, host) = node(few.clone()).await;
    let blocks = tree(4, few.block_bytes);
    node.put_blocks(&blocks).await.expect("stores");
    let request = AskDag::new(&WantDag::new(*blocks[0].cid(), Duration::from_secs(1))).encode();
    let (mut near, half, reply) = sent(&request).await;
    let asker = stranger();
    let reading = async {
        let (mut answer, mut piece) = (vec![], vec![0; 128 << 10]);
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            match near.read(&mut piece).await.expect("reads") {
                0 => return answer,
                read => answer.extend_from_slice(&piece[..read]),
            }
        }
    };
    let (served, answer) = soon(async { tokio::join!(serve(&host, &asker, half, reply), reading) }).await;
    served.expect("a good request");
    let whole: Vec<_> = blocks.iter().flat_map(block_frame).chain(frame(Kind::End, &[]).to_vec()).collect();
    assert!(answer == whole, "{} of {} bytes came", answer.len(), whole.len());
}

#[tokio::test(start_paused = true)]
async fn an_asker_that_goes_is_not_served_any_more() {
    let (node, host) = node(short()).await;
    let blocks = tree(4, 1 << 20);
    node.put_blocks(&blocks).await.expect("stores");
    let request = AskDag::new(&WantDag::new(*blocks[0].cid(), Duration::from_secs(1))).encode();
    let (mut near, half, reply) = sent(&request).await;
    let asker = stranger();
    let asking = async {
        near.read_exact(&mut [0; 1_000]).await.expect("an answer");
        drop(near);
    };
    let (served, ()) = soon(async { tokio::join!(serve(&host, &asker, half, reply), asking) }).await;
    assert_eq!((served, node.counter("serve_stalled")), (Ok(()), 0), "at once");
}

#[tokio::test(start_paused = true)]
async fn ending_the_askers_side_cancels_the_request() {
    let (node, host) = node(short()).await;
    let block = Block::new(RAW, vec![1; 1 << 20]);
    node.put_blocks(std::slice::from_ref(&block)).await.expect("stores");
    let request = AskBlock { cid: *block.cid(), max_bytes: u32::MAX, priority: 0 }.encode();
    let (mut near, half, reply) = sent(&request).await;
    let asker = stranger();
    let asking = async {
        near.read_exact(&mut [0; 1_000]).await.expect("an answer");
        near.shutdown().await.expect("ends");
    };
    let (served, ()) = soon(async { tokio::join!(serve(&host, &asker, half, reply), asking) }).await;
    assert_eq!(
        (served, node.counter("serve_stalled")),
        (Ok(()), 0),
        "at once, though nothing is read any more"
    );
}
