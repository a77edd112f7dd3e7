//! `carrick subscribe`: messages as they are accepted.

use std::time::Duration;

use carrick::ErrorKind;
use serde_json::json;

use super::Cx;
use super::args::Subscribe;
use crate::control::client::Lines;
use crate::control::wire::{Heard, Message};
use crate::fault::{Failure, Fault, Outcome};

pub(super) async fn run(cx: &Cx, args: &Subscribe) -> Outcome {
    let lines = cx.client()?.subscribe(args.topic.as_str()).await?;
    let mut heard = 0;
    let reading = read(cx, lines, args.count, &mut heard);
    let Some(limit) = args.timeout else { return reading.await };
    match tokio::time::timeout(limit, reading).await {
        Ok(read) => read,
        Err(_) if heard > 0 && args.count.is_none() => Ok(()),
        Err(_) => Err(too_late(limit, heard, args.count.unwrap_or(1))),
    }
}

async fn read(cx: &Cx, mut lines: Lines, count: Option<u64>, heard: &mut u64) -> Outcome {
    while let Some(line) = lines.next().await? {
        match line {
            Heard::Message(message) => {
                print(cx, &message)?;
                *heard += 1;
                if count.is_some_and(|count| *heard >= count) {
                    return Ok(());
                }
            }
            Heard::Error { error } => return Err(error.into()),
            other => aside(cx, &other)?,
        }
    }
    Err(Fault::new(ErrorKind::Closed, "subscribe", "the node ended the subscription").into())
}

fn print(cx: &Cx, message: &Message) -> Outcome {
    if cx.term.json {
        return cx.term.json(message);
    }
    cx.term.payload(message.text.as_deref(), message.payload.len())
}

/// What is no message: data for a program, a hint for a person. That it began goes to standard error in both cases.
fn aside(cx: &Cx, heard: &Heard) -> Outcome {
    match heard {
        Heard::Subscribed { subscribed } if cx.term.json => {
            return cx.term.json_aside(&json!({ "event": "subscribed", "topic": subscribed }));
        }
        Heard::Subscribed { subscribed } => cx.term.note(format!("reading {subscribed}")),
        other if cx.term.json => return cx.term.json(other),
        Heard::Lagged { lagged } => {
            cx.term.note(format!("{lagged} messages were dropped: this reader is too slow"))
        }
        Heard::Gap { gap } => {
            let author = gap.author.as_ref().map(|author| format!(" of {author}")).unwrap_or_default();
            cx.term.note(format!("messages{author} are missing: they never came here"));
        }
        _ => {}
    }
    Ok(())
}

fn too_late(limit: Duration, heard: u64, wanted: u64) -> Failure {
    let message = format!("{heard} of {wanted} messages came within {} s", limit.as_secs_f64());
    Fault::new(ErrorKind::Timeout, "subscribe", message)
        .mend("wait longer, or look at `carrick peers`")
        .into()
}
