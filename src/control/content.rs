//! Files and folders into a node and out of it. The command does the chunking and the joining, the node stores and
//! fetches.

use std::path::Path;

use bytes::Bytes;
use carrick::dag::{AddOptions, Added, BlockSink, BlockSource, Layout, add_file, add_path};
use carrick::{Block, Cid, Claim, Error, ErrorKind, Result};
use futures::{SinkExt, channel::mpsc};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::AsyncRead;

use super::client::{Client, Lines};
use super::sections;
use super::wire::{Fetched, Fetching, Stored, ToFetch};
use crate::fault::Fault;

/// Parts of blocks on their way to the node. Two a block.
const QUEUE: usize = 8;

/// Puts a file or folder into the node's store, pinned and announced once all of it is there.
pub(crate) async fn put_path(
    client: &Client,
    path: &Path,
    options: AddOptions<'_>,
) -> std::result::Result<Added, Fault> {
    put(client, async |sink| add_path(path, options, sink).await).await
}

/// Puts what a reader yields into the node's store, as one file.
pub(crate) async fn put_reader(
    client: &Client,
    reader: impl AsyncRead + Unpin + Send,
    layout: Layout,
) -> std::result::Result<Added, Fault> {
    put(client, async |sink| add_file(reader, layout, sink).await).await
}

async fn put(
    client: &Client,
    add: impl AsyncFnOnce(&mut ToNode) -> Result<Added>,
) -> std::result::Result<Added, Fault> {
    let (frames, body) = mpsc::channel(QUEUE);
    let mut sink = ToNode { frames };
    let adding = async move {
        let added = add(&mut sink).await;
        if added.is_err() {
            // The body breaks off instead of ending, so that the node does not take it for whole.
            let _ = sink.frames.send(Err(std::io::Error::other("adding failed"))).await;
        }
        added
    };
    let sending = client.send_blocks::<Stored>(StreamBody::new(body).boxed_unsync());
    match futures::join!(adding, sending) {
        // When the node refuses, adding fails as well: nobody takes its blocks.
        (Err(error), Err(fault)) if error.kind() == ErrorKind::Closed => Err(fault),
        (Err(error), _) => Err(error.into()),
        (_, Err(fault)) => Err(fault),
        (Ok(added), Ok(_)) => Ok(added),
    }
}

/// Frames blocks into the body of a request; waits while the node is slower.
struct ToNode {
    frames: mpsc::Sender<std::io::Result<Frame<Bytes>>>,
}

impl BlockSink for ToNode {
    async fn put(&mut self, block: Block) -> Result<()> {
        for part in sections::encode(block) {
            self.frames
                .send(Ok(Frame::data(part)))
                .await
                .map_err(|_| Error::new(ErrorKind::Closed, "put", "the node takes no more blocks"))?;
        }
        Ok(())
    }
}

/// Content that no garbage collection of the node takes while this lives.
#[derive(Debug)]
pub(crate) struct Kept {
    _lines: Lines,
}

/// Has the node fetch everything under a CID; `progress` is told the bytes that came so far.
pub(crate) async fn fetch(
    client: &Client,
    want: &ToFetch,
    mut progress: impl FnMut(u64),
) -> std::result::Result<(Fetched, Kept), Fault> {
    let mut lines = client.fetch(want).await?;
    loop {
        match lines.next().await? {
            Some(Fetching::Progress(now)) => progress(now.bytes),
            Some(Fetching::Done { done }) => return Ok((done, Kept { _lines: lines })),
            Some(Fetching::Error { error }) => return Err(error),
            None => return Err(Fault::new(ErrorKind::Closed, "get", "the node went away")),
        }
    }
}

/// The blocks of a node. Every one is hashed here again: the node is ours, but a wire and a disk lie between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeBlocks<'a>(pub(crate) &'a Client);

impl BlockSource for NodeBlocks<'_> {
    async fn block(&self, cid: &Cid) -> Result<Block> {
        let bytes = self.0.block(&cid.to_string()).await.map_err(to_error)?;
        Claim::new(*cid, bytes).check()
    }
}

/// A fault of the node as an error of ours.
fn to_error(fault: Fault) -> Error {
    let mut error = Error::new(fault.kind, "get", fault.message);
    if let Some(transport) = fault.transport {
        error = error.on(transport);
    }
    match fault.hint {
        Some(hint) => error.mend(hint),
        None => error,
    }
}
