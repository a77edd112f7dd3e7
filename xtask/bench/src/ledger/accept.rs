//! Entries that a reader takes from a writer over QUIC, against their check, hash and store alone.
//!
//! The writer made and signed them before and only sends them, so that it is the reader that is timed: both share the machine.
//! It is never further ahead than it is let: once by as many entries as the reader's gate has room for, and once by more.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use carrick_core::{
    Lane, MemoryStore, MessageId, NetworkId, Node, Outgoing, PeerAddr, Store as _, Topic, TopicRules,
    Transport,
};
use carrick_transport_quic::Quic;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::watch;
use tokio::time::timeout;

use super::alone::{SUPPLY, chain};
use super::member::{Member, quic};
use super::requests::{Asked, Requests};
use super::{NAME, Ran, SPAN, Task, both, payload, ran, ratios, start, tell};
use crate::Result;
use crate::process::Usage;
use crate::table::{Good, Row};

/// Messages of one remote that the gate has room for: so many are on their way, and so many are stored at once on the other
/// side.
const AT_ONCE: usize = 64;
/// More, which a writer has on its way that waits for nobody; less than a send queue holds, so that nothing is dropped.
const AHEAD: usize = 256;
/// How often the reader says how far it is.
const SAY: u64 = 16;
/// Longer than anything takes that goes on.
const STALLED: Duration = Duration::from_secs(60);

/// What a reader says.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    /// So many entries are there.
    Has(u64),
    /// All of it, and what was asked for beside the stream.
    Done(Ran, Asked),
}

/// All pairs, in the order ABBA, and the same with a writer that is further ahead.
pub(super) async fn run(pairs: u32) -> Result<Vec<Row>> {
    let (mut measured, mut further, mut last) = (Vec::new(), Vec::new(), String::new());
    let alone = Task::AcceptAlone { at_once: AT_ONCE };
    for pair in 0..pairs {
        let first = if pair % 2 == 1 { Some(ran(&alone).await?) } else { None };
        let (ours, asked, writer) = through_a_ledger(AT_ONCE).await?;
        let alone = match first {
            Some(alone) => alone,
            None => ran(&alone).await?,
        };
        further.push(through_a_ledger(AHEAD).await?.0.rate());
        eprintln!("accepted: {:.0} a second, alone {:.0}", ours.rate(), alone.rate());
        last = format!(
            "in the last pair {:.2} requests an entry, and {:.0} µs of the writer's CPU",
            asked.all() as f64 / ours.entries as f64,
            writer.cpu_seconds * 1e6 / ours.entries as f64
        );
        measured.push([ours, alone]);
    }
    let detail = format!("{}; {last}", both(&measured));
    let what = format!("ledger, accepted, {AT_ONCE} at once, of it alone");
    let row = Row::new(&what, "×", &ratios(&measured), Good::AtLeast, 0.5, 0.8).detail(detail);
    let what = format!("ledger, accepted, writer {AHEAD} ahead");
    Ok(vec![row, Row::told(&what, "/s", &further)])
}

/// A writer and a reader; what the reader took and asked for, and what the writer used meanwhile.
async fn through_a_ledger(ahead: usize) -> Result<(Ran, Asked, Usage)> {
    let mut writer = start(&Task::Write { ahead: ahead as u64 })?;
    let addr: PeerAddr = writer.line().await?;
    let mut reader = start(&Task::Accept { writer: addr })?;
    let before = writer.usage().await?;
    loop {
        match timeout(STALLED, reader.line()).await.map_err(|_| "no entry came; the run is void")?? {
            Said::Has(entries) => writer.tell(&entries.to_string()).await?,
            Said::Done(ran, asked) => {
                let usage = writer.usage().await?.since(&before);
                reader.end().await?;
                writer.end().await?;
                return Ok((ran, asked, usage));
            }
        }
    }
}

/// Sends entries that it wrote before, as far as the reader lets it, whose progress comes on standard input.
pub(super) async fn write(ahead: u64) -> Result<()> {
    let mut chain = chain()?;
    let entries = (0..SUPPLY).map(|n| chain.next(&payload(n))).collect::<Result<Vec<_>>>()?;
    let store = Arc::new(MemoryStore::default());
    // For what the reader asks for again.
    store.put(&entries).await?;
    let (topic, config, opened) = (Topic::new(format!("ledger/{NAME}"))?, quic()?, Arc::new(OnceLock::new()));
    let open = {
        let opened = Arc::clone(&opened);
        async move |host| {
            let wire: Arc<dyn Transport> = Arc::new(Quic::open(config, host).await?);
            Ok(Arc::clone(opened.get_or_init(|| wire)))
        }
    };
    let node = Node::builder().network(NetworkId::new(NAME)?).store(store).mount_dyn("quic", open);
    let node = node.topic(topic.clone(), TopicRules::kept()).open().await?;
    let _joined = node.subscribe(&topic).await?;
    let wire = opened.get().ok_or("the transport did not open")?;
    let wire = wire.broadcast().ok_or("the transport carries no broadcast")?;
    tell(&PeerAddr::from(node.listen_addrs().into_iter().next().ok_or("the node does not listen")?))?;
    let (let_go, mut may) = watch::channel(0);
    let writing = async {
        may.wait_for(|may| *may > 0).await?;
        node.ready(&topic, 1).await?;
        for (n, entry) in (0..).zip(&entries) {
            may.wait_for(|may| n < *may).await?;
            let (id, bytes) = (MessageId::from_cid(*entry.cid()), entry.bytes().clone());
            wire.publish(&Outgoing { id, topic: topic.clone(), bytes, lane: Lane::Own }).await?;
        }
        Result::<()>::Err("the reader is faster than there are entries; the run is void".into())
    };
    let listening = async {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Some(line) = lines.next_line().await? {
            match line.parse::<u64>() {
                Ok(has) => drop(let_go.send(has + ahead)),
                Err(_) => tell(&Usage::now()?)?,
            }
        }
        Result::<()>::Ok(())
    };
    tokio::select! {
        ended = writing => ended?,
        ended = listening => ended?,
    }
    Ok(node.close().await?)
}

/// Takes what the writer appends, and tells how far it is.
pub(super) async fn accept(writer: &PeerAddr) -> Result<()> {
    let folder = TempDir::new()?;
    let requests = Arc::<Requests>::default();
    let Member { node, ledger } = Member::counting(folder.path(), &requests).await?;
    let mut changes = ledger.watch();
    node.connect(writer).await?;
    node.ready(ledger.topic(), 1).await?;
    tell(&Said::Has(0))?;
    // What is timed begins when the stream does.
    changes.next().await.ok_or("the ledger ended")?;
    let (before, start, had) = (Usage::now()?, Instant::now(), ledger.count()? as u64);
    let mut said = had;
    tell(&Said::Has(had))?;
    while start.elapsed() < SPAN {
        timeout(STALLED, changes.next()).await.map_err(|_| "no entry came")?;
        let has = ledger.count()? as u64;
        if has >= said + SAY {
            said = has;
            tell(&Said::Has(has))?;
        }
    }
    let (seconds, usage) = (start.elapsed().as_secs_f64(), Usage::now()?.since(&before));
    let ran = Ran { entries: ledger.count()? as u64 - had, seconds, usage };
    node.close().await?;
    tell(&Said::Done(ran, requests.asked()))
}
