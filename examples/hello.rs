//! Two nodes in one program: one says hello, the other fetches a file by its address.
//!
//! `cargo run --example hello`. The network is one inside this process; over the real one mount `Quic` instead.

#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use carrick::dag::Layout;
use carrick::memory::MemoryNetwork;
use carrick::{Delivery, NetworkId, Node, PeerAddr, Result, Topic};
use futures::StreamExt;

#[tokio::main]
async fn main() -> Result<()> {
    let wire = MemoryNetwork::new(42);
    let node = || Node::builder().mount("memory", wire.transport());
    let alice = node().network(NetworkId::new("hello")?).open().await?;
    let bob = node().network(NetworkId::new("hello")?).open().await?;
    bob.connect(&PeerAddr::from(alice.listen_addrs()[0].clone())).await?;

    // A message: signed by alice, checked by bob's gate before he hears it.
    let topic = Topic::new("greetings")?;
    let mut heard = bob.subscribe(&topic).await?;
    alice.ready(&topic, 1).await?;
    alice.publish(&topic, "hello, bob").await?;
    if let Some(Delivery::Message(message)) = heard.next().await {
        println!("bob hears {:?} from {}", text(message.payload()), alice.peer_id());
    }

    // Content: whoever has it may send it, because its address says what it must be.
    let file = alice.put(&b"a file of alice's"[..], Layout::default()).await?;
    let block = bob.block(&file.cid, vec![]).await?;
    println!("bob fetched {:?}, which is {}", text(block.bytes()), block.cid());

    bob.close().await?;
    alice.close().await
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
