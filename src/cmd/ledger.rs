//! `carrick ledger`: entries into a log that many write, and out of it.

use carrick::{Cid, Clock, SystemClock};

use super::Cx;
use super::args::{Ledger, Log};
use super::peers::span;
use crate::control::client::Client;
use crate::control::ledger::{Fork, Heads, LogEntry, LogLine, Standing, ToRead, ToVerify, Verified};
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
        Ledger::Status { name } => status(cx, &client.standing(name).await?),
        Ledger::Verify { name, all, mend } => {
            let want = ToVerify { ledger: name.clone(), all: *all, mend: *mend };
            let verified = verify(cx, &client, &want).await?;
            cx.term.answer(&verified, said(&verified))
        }
    }
}

async fn verify(cx: &Cx, client: &Client, want: &ToVerify) -> Outcome<Verified> {
    let bar = cx.term.count("checking", 0);
    let verified = client.verify(want, |entries, of| {
        bar.set_length(of);
        bar.set_position(entries);
    });
    let verified = verified.await;
    bar.finish_and_clear();
    Ok(verified?)
}

/// What was checked, for a person.
fn said(verified: &Verified) -> String {
    let Verified { entries, checked, mended, .. } = verified;
    let before = match entries.saturating_sub(*checked) {
        0 => String::new(),
        before => format!(", {before} of them checked before"),
    };
    let mended = match mended {
        0 => String::new(),
        mended => format!(", {mended} fetched again"),
    };
    format!("{entries} entries, all sound{before}{mended}")
}

fn status(cx: &Cx, standing: &Standing) -> Outcome {
    if cx.term.json {
        return cx.term.json(standing);
    }
    let Standing { ledger, topic, heads: Heads { heads, entries }, last, peers, equivocations, forks } =
        standing;
    cx.term.line(format!("ledger     {ledger}, on the topic {topic}"))?;
    cx.term.line(format!("entries    {entries}"))?;
    cx.term.line(format!("heads      {}", listed(heads)))?;
    if let Some(last) = last {
        let age = SystemClock.now().as_millis().saturating_sub(last.time) / 1_000;
        cx.term.line(format!("last       {} ago, by {}", span(age), last.author))?;
    }
    cx.term.line(format!("peers      {}", listed(peers)))?;
    if *equivocations > 0 {
        let forks: Vec<String> = forks.iter().map(fork).collect();
        cx.term.line(format!("equivocations {equivocations}{}", lines(&forks)))?;
    }
    if peers.is_empty() {
        cx.term
            .note("nobody else takes part now: what is appended here reaches the others once one is there");
    }
    Ok(())
}

/// How many there are, and which.
fn listed(names: &[String]) -> String {
    format!("{}{}", names.len(), lines(names))
}

fn lines(names: &[String]) -> String {
    names.iter().map(|name| format!("\n             {name}")).collect()
}

fn fork(Fork { author, number, entries: [first, second] }: &Fork) -> String {
    format!("{author} gave the number {number} to {first} and {second}")
}

async fn log(cx: &Cx, client: &Client, args: &Log) -> Outcome {
    let want = ToRead {
        ledger: args.name.clone(),
        from: args.from.as_ref().map(Cid::to_string),
        follow: args.follow,
        settled: args.settled,
        settled_after: args.settled_after.map(|age| age.as_secs_f64()),
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
