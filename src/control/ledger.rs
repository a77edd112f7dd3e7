//! Ledgers over the control socket: the objects that cross it, and what each request does.

use std::sync::Arc;

use carrick::ledger::{Appended, Change, Entry, Ledger};
use carrick::{Cid, Error, ErrorKind, Node, Result};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::routes::cid;
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
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToRead {
    pub(crate) ledger: String,
    #[serde(default)]
    pub(crate) from: Option<String>,
    #[serde(default)]
    pub(crate) follow: bool,
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Heads {
    pub(crate) heads: Vec<String>,
    pub(crate) entries: usize,
}

/// A log that was checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Verified {
    pub(crate) entries: u64,
    pub(crate) ok: bool,
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
    let changes = match request.follow {
        true => ledger.follow(from),
        false => ledger.entries(from).map_ok(Change::Appended).boxed(),
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

pub(super) async fn verify(node: &Node, request: OfLedger) -> Result<Verified> {
    Ok(Verified { entries: named(node, &request.ledger)?.verify().await?, ok: true })
}
