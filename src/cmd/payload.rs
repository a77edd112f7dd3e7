//! What a person has to say: on the command line, in a file, or one a line on standard input.

use std::path::{Path, PathBuf};

use carrick::ErrorKind;
use clap::{Args, ValueHint};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::fault::{Fault, Outcome};

/// The highest that `block_bytes` may be; more is not even read.
const MAX_PAYLOAD: usize = 8 << 20;

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Payload {
    /// What it says; - reads standard input, one a line
    #[arg(value_name = "MESSAGE")]
    pub(crate) payload: Option<String>,
    /// Takes the content of a file as one
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
}

impl Payload {
    /// Does something with each, one after the other.
    pub(super) async fn each(
        &self,
        operation: &'static str,
        mut send: impl AsyncFnMut(&[u8]) -> Outcome,
    ) -> Outcome {
        let input = Input(operation);
        match (&self.payload, &self.file) {
            (Some(line), _) if line == "-" => input.each_line(send).await,
            (Some(payload), _) => send(payload.as_bytes()).await,
            (None, Some(file)) => {
                let name = file.display().to_string();
                let content = read(file).await.map_err(|error| input.unread(&name, &error))?;
                send(input.bounded(&content, &name)?).await
            }
            // clap asks for one of them.
            (None, None) => Ok(()),
        }
    }
}

/// Where payloads come from, for the operation that its errors name.
struct Input(&'static str);

impl Input {
    async fn each_line(&self, mut send: impl AsyncFnMut(&[u8]) -> Outcome) -> Outcome {
        let mut input = BufReader::new(tokio::io::stdin());
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut limited = (&mut input).take(MAX_PAYLOAD as u64 + 1);
            let read = limited.read_until(b'\n', &mut line).await;
            if read.map_err(|error| self.unread("standard input", &error))? == 0 {
                return Ok(());
            }
            let payload = line.strip_suffix(b"\n").unwrap_or(&line);
            let payload = payload.strip_suffix(b"\r").unwrap_or(payload);
            send(self.bounded(payload, "a line")?).await?;
        }
    }

    fn bounded<'a>(&self, payload: &'a [u8], what: &str) -> Outcome<&'a [u8]> {
        if payload.len() <= MAX_PAYLOAD {
            return Ok(payload);
        }
        let fault =
            Fault::new(ErrorKind::TooLarge, self.0, format!("{what} has more than {MAX_PAYLOAD} bytes"));
        Err(fault.mend("put it, and say its CID").into())
    }

    fn unread(&self, what: &str, error: &std::io::Error) -> Fault {
        let (kind, mend) = match error.kind() {
            std::io::ErrorKind::NotFound => {
                (ErrorKind::NotFound, "look at the name; it counts from the current folder")
            }
            std::io::ErrorKind::PermissionDenied => {
                (ErrorKind::Unauthorized, "run as a user who may read it")
            }
            std::io::ErrorKind::IsADirectory => {
                (ErrorKind::Config, "`carrick put` takes folders; say the CID that it prints")
            }
            _ => (ErrorKind::Unexpected, "look after the disk"),
        };
        Fault::new(kind, self.0, format!("{what} cannot be read: {error}")).mend(mend)
    }
}

/// A file, or the beginning of one that is too large.
async fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    tokio::fs::File::open(file).await?.take(MAX_PAYLOAD as u64 + 1).read_to_end(&mut content).await?;
    Ok(content)
}
