//! `carrick ledger`: entries into a log that many write, and out of it.

use carrick::Cid;

use super::Cx;
use super::args::{Ledger, Log};
use crate::control::client::Client;
use crate::control::ledger::{LogEntry, LogLine, ToRead};
use crate::fault::Outcome;

pub(super) async fn run(cx: &Cx, what: &Ledger) -> Outcome {
    let client = cx.client()?;
    match what {
        Ledger::Append { name, payload } => {
            let append = async |payload: &[u8]| {
                let made = client.append(name, payload).await?;
                cx.term.answer(&made, &made.cid)
            };
            payload.each("append", append).await
        }
        Ledger::Log(args) => log(cx, &client, args).await,
        Ledger::Heads { name } => {
            let heads = client.heads(name).await?;
            if cx.term.json {
                return cx.term.json(&heads);
            }
            cx.term.note(format!("{} entries", heads.entries));
            heads.heads.iter().try_for_each(|head| cx.term.line(head))
        }
        Ledger::Verify { name } => {
            let verified = client.verify(name).await?;
            cx.term.answer(&verified, format!("{} entries, all sound", verified.entries))
        }
    }
}

async fn log(cx: &Cx, client: &Client, args: &Log) -> Outcome {
    let want = ToRead {
        ledger: args.name.clone(),
        from: args.from.as_ref().map(Cid::to_string),
        follow: args.follow,
    };
    let mut lines = client.log(&want).await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0
        && let Some(line) = lines.next().await?
    {
        match line {
            LogLine::Entry(entry) => {
                print(cx, &entry)?;
                left -= 1;
            }
            LogLine::Error { error } => return Err(error.into()),
            lagged if cx.term.json => cx.term.json(&lagged)?,
            LogLine::Lagged { lagged } => {
                cx.term.note(format!(
                    "{lagged} entries were left out: this reader is too slow; read the log again"
                ));
            }
        }
    }
    Ok(())
}

fn print(cx: &Cx, entry: &LogEntry) -> Outcome {
    if cx.term.json {
        return cx.term.json(entry);
    }
    if let Some(at) = entry.at {
        cx.term.note(format!("the next one came late, and stands before others: at {at}"));
    }
    cx.term.payload(entry.text.as_deref(), entry.payload.len())
}
