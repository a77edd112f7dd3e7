//! `carrick publish`: one message, or one a line.

use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use carrick::ErrorKind;

use super::Cx;
use super::args::Publish;
use crate::control::client::Client;
use crate::control::wire::Published;
use crate::fault::{Fault, Outcome};

/// The highest that `block_bytes` may be; more is not even read.
const MAX_MESSAGE: usize = 8 << 20;

pub(super) async fn run(cx: &Cx, args: &Publish) -> Outcome {
    let client = cx.client()?;
    let topic = args.topic.as_str();
    match (&args.message, &args.file) {
        (Some(message), _) if message == "-" => each_line(cx, &client, topic).await,
        (Some(message), _) => tell(cx, &client.publish(topic, message.as_bytes()).await?),
        (None, Some(file)) => {
            let name = file.display().to_string();
            let content = read(file).await.map_err(|error| unread(&name, &error))?;
            tell(cx, &client.publish(topic, bounded(&content, &name)?).await?)
        }
        // clap asks for one of them.
        (None, None) => Ok(()),
    }
}

async fn each_line(cx: &Cx, client: &Client, topic: &str) -> Outcome {
    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut input).take(MAX_MESSAGE as u64 + 1);
        let read = limited.read_until(b'\n', &mut line).await;
        if read.map_err(|error| unread("standard input", &error))? == 0 {
            return Ok(());
        }
        let message = line.strip_suffix(b"\n").unwrap_or(&line);
        let message = message.strip_suffix(b"\r").unwrap_or(message);
        tell(cx, &client.publish(topic, bounded(message, "a line")?).await?)?;
    }
}

/// A file, or the beginning of one that is too large.
async fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    tokio::fs::File::open(file).await?.take(MAX_MESSAGE as u64 + 1).read_to_end(&mut content).await?;
    Ok(content)
}

fn bounded<'a>(message: &'a [u8], what: &str) -> Outcome<&'a [u8]> {
    if message.len() <= MAX_MESSAGE {
        return Ok(message);
    }
    let fault =
        Fault::new(ErrorKind::TooLarge, "publish", format!("{what} has more than {MAX_MESSAGE} bytes"));
    Err(fault.mend("put it and publish its CID").into())
}

fn tell(cx: &Cx, published: &Published) -> Outcome {
    if !cx.term.json {
        let reach = match published.peers {
            _ if published.queued => {
                "nobody is there; it is kept for a while and sent to the first who joins".into()
            }
            Some(1) => "sent to 1 peer".into(),
            Some(peers) => format!("sent to {peers} peers"),
            None => "sent; this network does not tell to how many".to_string(),
        };
        cx.term.note(reach);
        for skipped in &published.skipped {
            cx.term.note(format!(
                "left out {}: {}",
                skipped.count,
                skipped.reason.as_str().unwrap_or_default()
            ));
        }
    }
    cx.term.answer(published, &published.id)
}

fn unread(what: &str, error: &std::io::Error) -> Fault {
    let (kind, mend) = match error.kind() {
        std::io::ErrorKind::NotFound => {
            (ErrorKind::NotFound, "look at the name; it counts from the current folder")
        }
        std::io::ErrorKind::PermissionDenied => (ErrorKind::Unauthorized, "run as a user who may read it"),
        std::io::ErrorKind::IsADirectory => {
            (ErrorKind::Config, "`carrick put` takes folders; publish the CID that it prints")
        }
        _ => (ErrorKind::Unexpected, "look after the disk"),
    };
    Fault::new(kind, "publish", format!("{what} cannot be read: {error}")).mend(mend)
}
