//! Ledgers over the control socket: the objects that cross it, and what each request does.

use std::sync::Arc;

use carrick::ledger::{
    Appended, Change, Entry, Equivocation, Ledger, Settled, VerifyOptions, VerifyProgress,
};
use carrick::{Cid, Error, ErrorKind, Node, Result};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::routes::{PROGRESS, cid, seconds};
use super::wire::base64_text;
use crate::fault::Fault;

/// A ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfLedger {
    pub(crate) ledger: String,
}

/// An entry to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToAppend {
    pub(crate) ledger: String,
    #[serde(with = "base64_text")]
    pub(crate) payload: Vec<u8>,
}

/// An entry that was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) cid: String,
    pub(crate) clock: u64,
    pub(crate) author: String,
}

/// What to read of a log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToRead {
    pub(crate) ledger: String,
    #[serde(default)]
    pub(crate) from: Option<String>,
    #[serde(default)]
    pub(crate) follow: bool,
    /// With `follow`: tells what is so deep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) settled: Option<u64>,
    /// With `follow`: tells what has been here for so long, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) settled_after: Option<f64>,
}

impl ToRead {
    pub(super) fn settled(&self) -> Result<Option<Settled>> {
        let wrong = |detail| Err(Error::new(ErrorKind::Config, "ledger", detail));
        match (self.settled, seconds(self.settled_after)?) {
            (None, None) => Ok(None),
            _ if !self.follow => wrong("to wait until entries are settled is to follow"),
            (Some(_), Some(_)) => wrong("entries are settled by their depth or by their age, not by both"),
            (Some(depth), None) => Ok(Some(Settled::Depth(usize::try_from(depth).unwrap_or(usize::MAX)))),
            (None, Some(age)) => Ok(Some(Settled::After(age))),
        }
    }
}

/// What to check.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToVerify {
    pub(crate) ledger: String,
    #[serde(default)]
    pub(crate) all: bool,
    #[serde(default)]
    pub(crate) mend: bool,
}

/// A line of a check.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Verifying {
    /// How many entries it has behind it, and of how many.
    Progress {
        progress: u64,
        of: u64,
    },
    Done(Verified),
    /// The first fault, or why it ends.
    Error {
        error: Fault,
    },
}

/// A line of a log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum LogLine {
    Entry(Box<LogEntry>),
    /// The reader was too slow, and so many were left out.
    Lagged {
        lagged: u64,
    },
    /// The log ends with an error.
    Error {
        error: Fault,
    },
}

/// An entry as it stands in the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LogEntry {
    pub(crate) cid: String,
    pub(crate) clock: u64,
    pub(crate) author: String,
    pub(crate) time: u64,
    pub(crate) parents: Vec<String>,
    #[serde(with = "base64_text")]
    pub(crate) payload: Vec<u8>,
    /// The payload again, where it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// Of one that came late and stands before others: its rank, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<usize>,
}

/// How far a ledger is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heads {
    pub(crate) heads: Vec<String>,
    pub(crate) entries: usize,
}

/// Where a ledger stands, and who takes part in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) ledger: String,
    pub(crate) topic: String,
    #[serde(flatten)]
    pub(crate) heads: Heads,
    /// The last entry in the order; `None` of an empty ledger.
    pub(crate) last: Option<LastEntry>,
    /// Who is connected and takes part, as `carrick peers` names them.
    pub(crate) peers: Vec<String>,
    /// How many entries have the number of another one by the same author.
    #[serde(default)]
    pub(crate) equivocations: u64,
    /// The first of them by author and number, at most [`MOST_FORKS`].
    #[serde(default)]
    pub(crate) forks: Vec<Fork>,
}

/// Equivocations that are listed at most.
const MOST_FORKS: usize = 100;

/// Two entries that their author gave one number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fork {
    pub(crate) author: String,
    pub(crate) number: u64,
    pub(crate) entries: [String; 2],
}

/// The entry behind all others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LastEntry {
    pub(crate) cid: String,
    pub(crate) clock: u64,
    pub(crate) author: String,
    /// When its author says that it made it, in Unix milliseconds.
    pub(crate) time: u64,
}

/// A log that was checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Verified {
    pub(crate) entries: u64,
    pub(crate) ok: bool,
    /// How many were read; the others were checked before.
    pub(crate) checked: u64,
    /// Of how many a block was fetched again.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(crate) mended: u64,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

impl LogEntry {
    fn new(entry: &Entry, at: Option<usize>) -> Self {
        Self {
            cid: entry.cid().to_string(),
            clock: entry.clock(),
            author: entry.author().to_string(),
            time: entry.time().as_millis(),
            parents: entry.parents().iter().map(Cid::to_string).collect(),
            payload: entry.payload().to_vec(),
            text: std::str::from_utf8(entry.payload()).ok().map(str::to_string),
            at,
        }
    }
}

/// The ledger of a name.
fn named(node: &Node, name: &str) -> Result<Arc<Ledger>> {
    node.service(name).ok_or_else(|| {
        Error::new(ErrorKind::Config, "ledger", format!("no ledger {name:?} is configured"))
            .mend(format!("add the line [ledger.{name}] to carrick.toml, and start the node again"))
    })
}

pub(super) async fn append(node: &Node, request: ToAppend) -> Result<Made> {
    let appended = named(node, &request.ledger)?.append(request.payload).await?;
    let Appended { cid, clock, .. } = appended;
    Ok(Made { cid: cid.to_string(), clock, author: node.peer_id().to_string() })
}

pub(super) fn log(node: &Node, request: &ToRead) -> Result<impl Stream<Item = LogLine> + Send + use<>> {
    let ledger = named(node, &request.ledger)?;
    let from = request.from.as_deref().map(cid).transpose()?;
    let changes = match (request.settled()?, request.follow) {
        (Some(settled), _) => {
            let settled = async move { ledger.follow_settled(from, settled).await };
            stream::once(settled).try_flatten().boxed()
        }
        (None, true) => ledger.follow(from),
        (None, false) => ledger.entries(from).map_ok(Change::Appended).boxed(),
    };
    let closed = Error::new(ErrorKind::Closed, "ledger", "the node is closing");
    let last = stream::iter(request.follow.then(|| LogLine::Error { error: closed.into() }));
    Ok(changes.filter_map(async |change| line(change)).chain(last))
}

/// The line of a change; none for kinds that came after this program.
fn line(change: Result<Change>) -> Option<LogLine> {
    let entry = |entry, at| LogLine::Entry(Box::new(LogEntry::new(entry, at)));
    match change {
        Ok(Change::Appended(appended)) => Some(entry(&appended, None)),
        Ok(Change::Inserted { at, entry: late }) => Some(entry(&late, Some(at))),
        Ok(Change::Lagged(lagged)) => Some(LogLine::Lagged { lagged }),
        Ok(_) => None,
        Err(error) => Some(LogLine::Error { error: error.into() }),
    }
}

pub(super) fn heads(node: &Node, request: &OfLedger) -> Result<Heads> {
    let ledger = named(node, &request.ledger)?;
    let heads = ledger.heads()?.iter().map(Cid::to_string).collect();
    Ok(Heads { heads, entries: ledger.count()? })
}

pub(super) async fn status(node: &Node, request: OfLedger) -> Result<Standing> {
    let heads = heads(node, &request)?;
    let ledger = named(node, &request.ledger)?;
    let last = match heads.heads.first() {
        Some(highest) => ledger.entry(&cid(highest)?).await?,
        None => None,
    };
    let last = last.map(|entry| LastEntry {
        cid: entry.cid().to_string(),
        clock: entry.clock(),
        author: entry.author().to_string(),
        time: entry.time().as_millis(),
    });
    let peers = node.topic_peers(ledger.topic()).await?;
    let peers = peers.iter().map(ToString::to_string).collect();
    let (equivocations, forks) = forks(&ledger).await?;
    let topic = ledger.topic().to_string();
    Ok(Standing { ledger: request.ledger, topic, heads, last, peers, equivocations, forks })
}

/// How many equivocations there are, and the first of them.
async fn forks(ledger: &Ledger) -> Result<(u64, Vec<Fork>)> {
    let (mut found, mut count, mut listed) = (ledger.equivocations(), 0, Vec::new());
    while let Some(Equivocation { author, number, entries, .. }) = found.try_next().await? {
        count += 1;
        if listed.len() < MOST_FORKS {
            let entries = entries.map(|entry| entry.to_string());
            listed.push(Fork { author: author.to_string(), number, entries });
        }
    }
    Ok((count, listed))
}

pub(super) fn verify(
    node: &Node,
    request: &ToVerify,
) -> Result<impl Stream<Item = Verifying> + Send + use<>> {
    let options = VerifyOptions { all: request.all, mend: request.mend };
    let verify = named(node, &request.ledger)?.verify_with(options);
    let progress = verify.progress();
    let ticks = tokio::time::interval_at(tokio::time::Instant::now() + PROGRESS, PROGRESS);
    Ok(stream::unfold(Some((verify, progress, ticks)), async |state| {
        let (mut verify, progress, mut ticks) = state?;
        tokio::select! {
            biased;
            verified = &mut verify => Some((done(verified), None)),
            _ = ticks.tick() => {
                let VerifyProgress { entries, of, .. } = *progress.borrow();
                Some((Verifying::Progress { progress: entries, of }, Some((verify, progress, ticks))))
            }
        }
    }))
}

fn done(verified: Result<carrick::ledger::Verified>) -> Verifying {
    match verified {
        Ok(verified) => Verifying::Done(Verified {
            entries: verified.entries,
            ok: true,
            checked: verified.checked,
            mended: verified.mended,
        }),
        Err(error) => Verifying::Error { error: error.into() },
    }
}
